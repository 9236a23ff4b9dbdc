// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
)

// Flow looks an entry up, in flows and then in flows_spill.
func (m *Machine) Flow(key bpf.WeirFlowKey) (bpf.WeirFlow, bool, error) {
	flow, found, err := lookup[bpf.WeirFlow](m.objects.Flows, key)
	if err != nil || found {
		return flow, found, err
	}
	return lookup[bpf.WeirFlow](m.objects.FlowsSpill, key)
}

// PutFlow writes an entry of flows without counting it in flow_usage.
func (m *Machine) PutFlow(key bpf.WeirFlowKey, flow bpf.WeirFlow) error {
	return put(m.objects.Flows, key, flow)
}

// PutFragment writes what a first fragment left.
func (m *Machine) PutFragment(key bpf.WeirFragKey, fragment bpf.WeirFrag) error {
	return put(m.objects.Fragments, key, fragment)
}

// Flows is all entries of flows.
func (m *Machine) Flows() (map[bpf.WeirFlowKey]bpf.WeirFlow, error) {
	return entries[bpf.WeirFlowKey, bpf.WeirFlow](m.objects.Flows)
}

// Spilled is all entries of flows_spill.
func (m *Machine) Spilled() (map[bpf.WeirFlowKey]bpf.WeirFlow, error) {
	return entries[bpf.WeirFlowKey, bpf.WeirFlow](m.objects.FlowsSpill)
}

// Fragments is all entries of fragments.
func (m *Machine) Fragments() (map[bpf.WeirFragKey]bpf.WeirFrag, error) {
	return entries[bpf.WeirFragKey, bpf.WeirFrag](m.objects.Fragments)
}

// Age makes every flow, fragment and told denial older by d, as if nothing had
// been sent for so long: tests of expiry wait for nothing.
func (m *Machine) Age(d time.Duration) error {
	ticks := uint32(d.Seconds() * float64(m.options.TicksPerSecond))
	for _, table := range []*ebpf.Map{m.objects.Flows, m.objects.FlowsSpill} {
		flows, err := entries[bpf.WeirFlowKey, bpf.WeirFlow](table)
		if err != nil {
			return err
		}
		for key, flow := range flows {
			flow.First -= ticks
			flow.LastTx -= ticks
			flow.LastRx -= ticks
			if err := put(table, key, flow); err != nil {
				return err
			}
		}
	}
	fragments, err := m.Fragments()
	if err != nil {
		return err
	}
	for key, fragment := range fragments {
		fragment.Seen -= ticks
		if err := put(m.objects.Fragments, key, fragment); err != nil {
			return err
		}
	}
	return m.ageDenials(ticks)
}

func (m *Machine) ageDenials(ticks uint32) error {
	values := make([]bpf.WeirDenial, m.objects.Denials.MaxEntries())
	var cursor ebpf.MapBatchCursor
	_, err := m.objects.Denials.BatchLookup(&cursor, make([]uint32, len(values)), values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read %s: %w", m.objects.Denials, err)
	}
	for i := range values {
		values[i].Told -= ticks
	}
	return m.writeDenials(values)
}

// writeDenials writes the whole array, by one system call: it is large.
func (m *Machine) writeDenials(values []bpf.WeirDenial) error {
	places := make([]uint32, len(values))
	for i := range places {
		places[i] = uint32(i)
	}
	if _, err := m.objects.Denials.BatchUpdate(places, values, nil); err != nil {
		return fmt.Errorf("write %s: %w", m.objects.Denials, err)
	}
	return nil
}

func lookup[V any](table *ebpf.Map, key any) (V, bool, error) {
	var value V
	err := table.Lookup(key, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return value, false, nil
	}
	if err != nil {
		return value, false, fmt.Errorf("read %s: %w", table, err)
	}
	return value, true, nil
}

func entries[K comparable, V any](table *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	var key K
	var value V
	each := table.Iterate()
	for each.Next(&key, &value) {
		out[key] = value
	}
	if err := each.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return out, nil
}
