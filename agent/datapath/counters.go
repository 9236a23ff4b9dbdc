// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Counters since the maps were made; they outlive the agent. Packets of GSO
// are counted as segments, bytes from layer 3 up.
type Counters struct {
	// Totals of every packet, by direction and bpf.WeirReason.
	Totals [len(policy.Directions)][bpf.WeirReasonREASON_COUNT]bpf.WeirTraffic
	// Drops: what was denied or audited, by endpoint.
	Drops map[bpf.WeirDropKey]bpf.WeirTraffic
}

// Counters sums over CPUs. The packets of self tests of this run are taken off
// again.
func (d *Datapath) Counters() (Counters, error) {
	c := Counters{Drops: map[bpf.WeirDropKey]bpf.WeirTraffic{}}
	for direction := range c.Totals {
		for reason := range c.Totals[direction] {
			var perCPU []bpf.WeirTraffic
			index := uint32(direction*int(bpf.WeirReasonREASON_COUNT) + reason)
			if err := lookupCPUs(d.maps[bpf.WeirMapCounters], index, &perCPU); err != nil {
				return c, fmt.Errorf("read counters: %w", err)
			}
			c.Totals[direction][reason] = sum(perCPU)
		}
	}
	d.mu.Lock()
	for key, own := range d.ownCounts {
		total := &c.Totals[key.direction][key.reason]
		total.Packets -= min(own.Packets, total.Packets)
		total.Bytes -= min(own.Bytes, total.Bytes)
	}
	d.mu.Unlock()
	err := each(d.maps[bpf.WeirMapDrops], func(k bpf.WeirDropKey, perCPU []bpf.WeirTraffic) {
		if k.Ifindex != loopback {
			c.Drops[k] = sum(perCPU)
		}
	})
	if err != nil {
		return c, fmt.Errorf("read drops: %w", err)
	}
	return c, nil
}

func sum(perCPU []bpf.WeirTraffic) bpf.WeirTraffic {
	var total bpf.WeirTraffic
	for _, c := range perCPU {
		total.Packets += c.Packets
		total.Bytes += c.Bytes
	}
	return total
}

// Usage of one map.
type Usage struct {
	Map      string
	Used     uint32 // entries
	Capacity uint32
	// Entries that this run wrote and deleted, of a table that only the agent
	// writes; 0 for the others.
	Written, Deleted uint64
}

// Usage of the maps that can fill. Those that programs write are as of the
// last Sweep.
func (d *Datapath) Usage() []Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.opts.Sizes
	list := []Usage{
		{Map: bpf.WeirMapEndpoints, Used: uint32(len(d.tables.endpoints)), Capacity: s.Endpoints},
		{Map: bpf.WeirMapLocalIps, Used: uint32(len(d.tables.local)), Capacity: s.LocalIPs},
		{Map: bpf.WeirMapPeers, Used: uint32(len(d.tables.peers)), Capacity: s.Peers},
		{Map: bpf.WeirMapCidrs, Used: uint32(len(d.tables.prefixes)), Capacity: s.Prefixes},
		{Map: bpf.WeirMapRows, Used: uint32(d.tables.rows), Capacity: s.Rows},
		{Map: bpf.WeirMapTranslated, Used: uint32(len(d.tables.ports[bpf.WeirMapTranslated])), Capacity: s.Translated},
		{Map: bpf.WeirMapTunnels, Used: uint32(len(d.tables.ports[bpf.WeirMapTunnels])), Capacity: s.Tunnels},
		{Map: bpf.WeirMapFlows, Used: uint32(d.swept.flows), Capacity: s.Flows},
		{Map: bpf.WeirMapFlowsSpill, Used: uint32(d.swept.spill), Capacity: s.Spill},
		{Map: bpf.WeirMapDrops, Used: uint32(d.swept.drops), Capacity: s.Drops},
	}
	if store, ok := d.store.(*kernelStore); ok {
		for i := range list {
			list[i].Written, list[i].Deleted = store.counts(list[i].Map)
		}
	}
	return list
}

// Crowded: a table of policy is a quarter full or more.
func (d *Datapath) Crowded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.opts.Sizes
	return len(d.tables.peers) > int(s.Peers/4) || len(d.tables.prefixes) > int(s.Prefixes/4) || d.tables.rows > int(s.Rows/4)
}

// Unsettled: a program may still judge by a set that an endpoint had, and the
// next change of classes waits for it.
func (d *Datapath) Unsettled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsettled
}

// forgetDrops deletes the drop counters of interfaces, and returns how many
// entries are left.
func (d *Datapath) forgetDrops(departed map[int]uint32) (int, error) {
	var dead []bpf.WeirDropKey
	n := 0
	err := eachKey(d.maps[bpf.WeirMapDrops], func(k bpf.WeirDropKey) {
		n++
		if _, ok := departed[int(k.Ifindex)]; ok || k.Ifindex == loopback {
			dead = append(dead, k)
		}
	})
	errs := []error{err}
	for _, k := range dead {
		if err := d.maps[bpf.WeirMapDrops].Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("delete drop counters: %w", err)
	}
	return n - len(dead), nil
}
