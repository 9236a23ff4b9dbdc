// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/weirnet/weir/bpf"
)

// format is part of every layout. It is raised when the meaning of a map
// changes and its types do not.
const format = 2

// Groups of maps: what one map of a group says refers to the others. Tables are
// made anew by each run; flows and counts are used again, together, if their
// layout agrees.
var (
	tableMaps = []string{
		bpf.WeirMapEndpoints, bpf.WeirMapLocalIps, bpf.WeirMapPeers, bpf.WeirMapCidrs,
		bpf.WeirMapRows, bpf.WeirMapTranslated, bpf.WeirMapTunnels, bpf.WeirMapRevision,
	}
	flowMaps = []string{
		bpf.WeirMapFlows, bpf.WeirMapFlowsSpill, bpf.WeirMapFlowUsage, bpf.WeirMapFlowLimit, bpf.WeirMapFragments,
		bpf.WeirMapDeferred,
	}
	countMaps = []string{
		bpf.WeirMapCounters, bpf.WeirMapDrops, bpf.WeirMapRings, bpf.WeirMapEventsAllowed, bpf.WeirMapEventsDenied,
	}
	foreverMaps = []string{bpf.WeirMapEpoch, bpf.WeirMapMarks}
)

const (
	tablesPrefix   = "tables-"
	flowsPrefix    = "flows-"
	countsPrefix   = "counts-"
	programsDir    = "programs"
	linksDir       = "links"
	completeMarker = "complete" // a directory: a BPF file system has no files
)

// layout names all that two agents must agree on to share maps: the format,
// and a short hash of the types.
func layout(spec *ebpf.CollectionSpec, names []string) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(slices.Values(names)) {
		m := spec.Maps[name]
		if m == nil {
			return "", fmt.Errorf("map %s: not in the object", name)
		}
		fmt.Fprintf(h, "%s %d %d %d %d %d %s %s\n", name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags, shape(m.Key), shape(m.Value))
	}
	return fmt.Sprintf("%d-%s", format, hex.EncodeToString(h.Sum(nil)[:6])), nil
}

// shape writes a type out with offsets: two structs of one size may differ.
func shape(t btf.Type) string {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		var b strings.Builder
		for _, m := range t.Members {
			fmt.Fprintf(&b, "%s@%d:%s;", m.Name, m.Offset, shape(m.Type))
		}
		return "{" + b.String() + "}"
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", shape(t.Type), t.Nelems)
	case *btf.Int:
		return fmt.Sprintf("i%d", t.Size)
	case nil:
		return "-"
	default:
		return fmt.Sprintf("%T", t)
	}
}

// generation is one directory of tables.
type generation struct {
	dir      string
	number   int
	complete bool // an agent wrote all of it, and its programs used it
}

// generations lists the directories of tables, oldest first.
func generations(pinDir string) ([]generation, error) {
	entries, err := os.ReadDir(pinDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var list []generation
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), tablesPrefix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(rest)
		if err != nil {
			continue // not weir's
		}
		dir := filepath.Join(pinDir, e.Name())
		_, missing := os.Stat(filepath.Join(dir, completeMarker))
		list = append(list, generation{dir: dir, number: n, complete: missing == nil})
	}
	slices.SortFunc(list, func(a, b generation) int { return a.number - b.number })
	return list, nil
}

// openGroup opens or makes each map of a group below dir, and pins it.
func openGroup(spec *ebpf.CollectionSpec, dir string, names []string, into map[string]*ebpf.Map) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	for _, name := range names {
		m, err := openMap(spec.Maps[name], filepath.Join(dir, name))
		if err != nil {
			return err
		}
		into[name] = m
	}
	return nil
}

// openMap opens the pinned map if it is what spec says. Another one under the
// name is left by a crash or by hand, and would be misread.
func openMap(spec *ebpf.MapSpec, path string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err == nil {
		if err := spec.Compatible(m); err != nil {
			m.Close()
			return nil, fmt.Errorf("pinned map %s is not what this agent uses: %w; stop all agents of the node and run the cleanup", path, err)
		}
		return m, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open pinned map %s: %w", path, err)
	}
	m, err = ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("make map %s (%d entries): %w", spec.Name, spec.MaxEntries, err)
	}
	if err := m.Pin(path); err != nil {
		m.Close()
		return nil, fmt.Errorf("pin map: %w", err)
	}
	return m, nil
}

func closeMaps(maps map[string]*ebpf.Map) error {
	var errs []error
	for _, m := range maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// removeOthers removes directories of a group, but for the one to keep.
func removeOthers(pinDir, prefix, keep string) error {
	entries, err := os.ReadDir(pinDir)
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(pinDir, e.Name())
		if strings.HasPrefix(e.Name(), prefix) && path != keep {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}
