// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/bpf"
)

// tables mirrors what user space has written, so that room is known before the
// first write, and what a failed update has overwritten can be put back. Rows
// are only counted: they are never overwritten.
type tables struct {
	peers      map[netip.Addr]bpf.WeirPeer
	prefixes   map[netip.Prefix]uint32
	ports      map[string]map[bpf.WeirPortKey]bool // translated, tunnels
	local      map[netip.Addr]uint32
	endpoints  map[uint32]bpf.WeirEndpoint
	rows       int
	epochValue uint32
}

func newTables() tables {
	return tables{
		peers: map[netip.Addr]bpf.WeirPeer{}, prefixes: map[netip.Prefix]uint32{},
		ports: map[string]map[bpf.WeirPortKey]bool{bpf.WeirMapTranslated: {}, bpf.WeirMapTunnels: {}},
		local: map[netip.Addr]uint32{}, endpoints: map[uint32]bpf.WeirEndpoint{},
	}
}

// barriers are prefixes that the trie always holds: without them ::/0 would
// cover every IPv4 address (which is ::ffff:0:0/96 in the trie) and the
// link-local ones.
func barriers() [2]netip.Prefix {
	return [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fe80::/10")}
}

func isBarrier(p netip.Prefix) bool {
	for _, b := range barriers() {
		if p == b {
			return true
		}
	}
	return false
}

// ensureBarriers writes the barriers that are missing, with class 0.
func (d *Datapath) ensureBarriers() error {
	for _, p := range barriers() {
		if _, ok := d.tables.prefixes[p]; ok {
			continue
		}
		if _, err := d.store.Put(bpf.WeirMapCidrs, []bpf.WeirCidrKey{prefixKey(p)}, []uint32{0}); err != nil {
			return fmt.Errorf("write prefix %s, which must always be there: %w", p, err)
		}
		d.tables.prefixes[p] = 0
	}
	return nil
}

// moveEpoch makes every flow entry be judged again at its next packet.
func (d *Datapath) moveEpoch() error {
	next := d.tables.epochValue + 1
	if _, err := d.store.Put(bpf.WeirMapEpoch, []uint32{0}, []uint32{next}); err != nil {
		return fmt.Errorf("move the epoch: %w", err)
	}
	d.tables.epochValue = next
	return nil
}

// putEndpoints writes the endpoints that differ, each by its ifindex, and
// reports whether live flows have to be judged again: one got another set or
// another mode.
func (d *Datapath) putEndpoints(values ...bpf.WeirEndpoint) (bool, error) {
	values = slices.DeleteFunc(values, func(v bpf.WeirEndpoint) bool {
		old, known := d.tables.endpoints[v.Ifindex]
		return known && old == v
	})
	if len(values) == 0 {
		return false, nil
	}
	keys := make([]uint32, len(values))
	for i, v := range values {
		keys[i] = v.Ifindex
	}
	n, err := d.store.Put(bpf.WeirMapEndpoints, keys, values)
	moved := false
	for _, v := range values[:n] {
		old, known := d.tables.endpoints[v.Ifindex]
		d.tables.endpoints[v.Ifindex] = v
		d.unsettled = d.unsettled || replaced(old.SetIngress, v.SetIngress) || replaced(old.SetEgress, v.SetEgress)
		moved = moved || known && (old.SetIngress != v.SetIngress || old.SetEgress != v.SetEgress || old.Mode != v.Mode)
	}
	if err != nil {
		return moved, fmt.Errorf("write endpoint of interface %d: %w", keys[min(n, len(keys)-1)], err)
	}
	return moved, nil
}

func replaced(old, set uint32) bool { return old != 0 && old != set }
