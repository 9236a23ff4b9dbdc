// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is a control group for the agent's memory, which counts what a
// container's limit would: also the maps that the agent makes in the kernel.
type group struct {
	dir        string
	now, peak  string // files
	limit      string
	resettable bool // the peak, by writing 0 (version 1)
}

// makeGroup in version 1's hierarchy, or in version 2 where that has memory.
func makeGroup() (group, error) {
	for _, g := range []group{
		{"/sys/fs/cgroup/memory/" + name, "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes", true},
		{"/sys/fs/cgroup/" + name, "memory.current", "memory.peak", "memory.max", false},
	} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(g.dir), "cgroup.procs")); err != nil {
			continue
		}
		if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return group{}, err
		}
		if _, err := os.Stat(filepath.Join(g.dir, g.now)); err == nil {
			return g, nil
		}
		if err := os.Remove(g.dir); err != nil {
			return group{}, err
		}
	}
	return group{}, errors.New("no control group of memory can be made in /sys/fs/cgroup; mount the controller")
}

func (g group) read(file string) (uint64, error) {
	raw, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
}

// resetPeak where the kernel can: of version 2 it stays the peak of all runs.
func (g group) resetPeak() error {
	if !g.resettable {
		return nil
	}
	return os.WriteFile(filepath.Join(g.dir, g.peak), []byte("0"), 0)
}

// setLimit in bytes.
func (g group) setLimit(bytes uint64) error {
	return os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.FormatUint(bytes, 10)), 0)
}

// remove the group, which stays for a moment after its last process.
func (g group) remove() error {
	if g.dir == "" {
		return nil
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := os.Remove(g.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove control group: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
