// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
)

// Sizes are the maps' capacities, in entries; Ring in bytes.
type Sizes struct {
	Endpoints, LocalIPs, Peers, Prefixes, Rows uint32
	Flows, Spill, Fragments, Drops             uint32
	Translated, Tunnels                        uint32
	Ring                                       uint32
}

// Bytes of kernel memory per entry of a preallocated hash: 48 of header, key
// and value rounded up to 8, 16 of bucket.
const (
	flowCost = 48 + 48 + 64 + 16
	peerCost = 48 + 16 + 24 + 16
	rowCost  = 48 + 16 + 184 + 16
)

// Fill sets what is 0 from memory, the bytes that the maps' budget is taken
// from (Memory). The budget is 1/64 of it; of that, half is for flows, 1/8
// for rows, 1/16 for peers and 1/128 for each ring, each rounded down to a
// power of two and held between a least and a greatest size:
//
//	Flows  131,072 to 2,097,152     Peers  65,536 to 524,288
//	Rows    32,768 to   524,288     Ring        1 to 8 MiB
//
// Spill is a quarter of Flows, as is the table of what pods called by Service
// addresses; the others are fixed. The least sizes together
// take about 51 MB.
func (s Sizes) Fill(memory uint64) Sizes {
	budget := memory / 64
	set := func(field *uint32, share uint64, least, most uint32) {
		if *field == 0 {
			*field = powerOfTwo(share, least, most)
		}
	}
	set(&s.Flows, budget/2/flowCost, 1<<17, 1<<21)
	set(&s.Rows, budget/8/rowCost, 1<<15, 1<<19)
	set(&s.Peers, budget/16/peerCost, 1<<16, 1<<19)
	set(&s.Ring, budget/128, 1<<20, 1<<23)
	set(&s.Spill, uint64(s.Flows/4), 1<<10, 1<<19)
	set(&s.Prefixes, 1<<16, 1<<16, 1<<16) // not preallocated
	set(&s.Endpoints, 1<<10, 1<<10, 1<<10)
	set(&s.LocalIPs, uint64(s.Endpoints)*4, 1<<4, 1<<31)
	set(&s.Fragments, 1<<13, 1<<13, 1<<13)
	set(&s.Drops, 1<<13, 1<<13, 1<<13)
	set(&s.Translated, 1<<13, 1<<13, 1<<13)
	set(&s.Tunnels, 1<<6, 1<<6, 1<<6)
	return s
}

func (s Sizes) validate() error {
	if s.Ring != 0 && (s.Ring&(s.Ring-1) != 0 || s.Ring < 1<<16) {
		return fmt.Errorf("event ring of %d bytes: want a power of two, 65536 or more", s.Ring)
	}
	return nil
}

// slots is the length of flow_usage and flow_limit: one per endpoint, after
// the reserved ones.
func (s Sizes) slots() uint32 { return s.Endpoints + firstSlot }

// share is the number of flow entries that an endpoint is sure of.
func (s Sizes) share(pods uint32) uint64 {
	return uint64(max(1024, s.Flows/max(1, pods)))
}

// byMap has every map but the rings of events.
func (s Sizes) byMap() map[string]uint32 {
	return map[string]uint32{
		bpf.WeirMapEndpoints: s.Endpoints, bpf.WeirMapLocalIps: s.LocalIPs, bpf.WeirMapPeers: s.Peers,
		bpf.WeirMapCidrs: s.Prefixes, bpf.WeirMapRows: s.Rows, bpf.WeirMapFlows: s.Flows,
		bpf.WeirMapFlowsSpill: s.Spill, bpf.WeirMapFragments: s.Fragments, bpf.WeirMapDrops: s.Drops,
		bpf.WeirMapTranslated: s.Translated, bpf.WeirMapTunnels: s.Tunnels,
		bpf.WeirMapDeferred: s.Spill, bpf.WeirMapFlowUsage: s.slots(), bpf.WeirMapFlowLimit: s.slots(),
		bpf.WeirMapAllowances: s.slots(),
	}
}

func (s Sizes) apply(spec *ebpf.CollectionSpec) error {
	for name, size := range s.byMap() {
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("size map %s: not in the object", name)
		}
		m.MaxEntries = size
	}
	return bpf.SizeRings(spec, s.Ring)
}

// optionOf names the field of Sizes that a full map is raised by.
func optionOf(table string) string {
	switch table {
	case bpf.WeirMapEndpoints, bpf.WeirMapFlowLimit:
		return "Endpoints"
	case bpf.WeirMapLocalIps:
		return "LocalIPs"
	case bpf.WeirMapPeers:
		return "Peers"
	case bpf.WeirMapCidrs:
		return "Prefixes"
	case bpf.WeirMapRows:
		return "Rows"
	case bpf.WeirMapTranslated:
		return "Translated"
	case bpf.WeirMapTunnels:
		return "Tunnels"
	}
	return table
}

func powerOfTwo(n uint64, least, most uint32) uint32 {
	if n <= uint64(least) {
		return least
	}
	if n >= uint64(most) {
		return most
	}
	return 1 << (bits.Len64(n) - 1)
}

// Memory is MemTotal of proc/meminfo, or 16 times the memory limit of the
// process's cgroup where that is less: maps are charged to the cgroup that
// makes them (5.11), so a quarter of the limit may go to the maps. Paths are
// relative to root, which is the node's "/".
func Memory(root fs.FS) (uint64, error) {
	total, err := memTotal(root)
	if err != nil {
		return 0, err
	}
	limit, err := fs.ReadFile(root, "sys/fs/cgroup/memory.max")
	if err != nil {
		return total, nil // cgroup v1, or no limit on the root group
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64)
	if err != nil || n >= total/16 {
		return total, nil // "max", or one that does not bind
	}
	return n * 16, nil
}

func memTotal(root fs.FS) (uint64, error) {
	f, err := root.Open("proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the machine's memory: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read MemTotal: %w", err)
			}
			return kib * 1024, nil
		}
	}
	return 0, errors.Join(errors.New("read /proc/meminfo: no MemTotal"), lines.Err())
}
