// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// recorder notes the order of writes, and lets a test look between them.
type recorder struct {
	store
	log   []string
	after func(step string)
}

func (r *recorder) note(step string) {
	if len(r.log) == 0 || r.log[len(r.log)-1] != step {
		r.log = append(r.log, step)
	}
	if r.after != nil {
		r.after(step)
	}
}

func (r *recorder) Put(table string, keys, values any) (int, error) {
	// One by one, so that a look in between sees every half-written batch.
	k, v := reflect.ValueOf(keys), reflect.ValueOf(values)
	for i := range k.Len() {
		if _, err := r.store.Put(table, k.Slice(i, i+1).Interface(), v.Slice(i, i+1).Interface()); err != nil {
			return i, err
		}
		r.note("put " + table)
	}
	return k.Len(), nil
}

func (r *recorder) Remove(table string, keys any) (int, error) {
	k, n := reflect.ValueOf(keys), 0
	for i := range k.Len() {
		removed, err := r.store.Remove(table, k.Slice(i, i+1).Interface())
		n += removed
		if err != nil {
			return n, err
		}
		r.note("remove " + table)
	}
	return n, nil
}

func (r *recorder) Settle() error {
	err := r.store.Settle()
	r.note("settle")
	return err
}

// broken has no room in one map after some writes, as a kernel without memory.
type broken struct {
	store
	table string
	after int
}

func (b *broken) Put(table string, keys, values any) (int, error) {
	if table != b.table {
		return b.store.Put(table, keys, values)
	}
	k, v := reflect.ValueOf(keys), reflect.ValueOf(values)
	n := min(k.Len(), b.after)
	b.after -= n
	done, err := b.store.Put(table, k.Slice(0, n).Interface(), v.Slice(0, n).Interface())
	if err == nil && n < k.Len() {
		err = fmt.Errorf("write %s: %w", table, unix.ENOMEM)
	}
	return done, err
}

// content is what the maps that user space writes hold, as text.
func content(t *testing.T, d *Datapath) []string {
	t.Helper()
	lines := map[string]bool{}
	collect := func(name string, err error) {
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
	}
	collect("rows", each(d.maps[bpf.WeirMapRows], func(k bpf.WeirRowKey, v bpf.WeirRow) {
		lines[fmt.Sprintf("row %d/%d/%d.%d %v", k.Set, k.Class, k.Protocol, k.Page, v.Intervals[:v.Count])] = true
	}))
	collect("peers", each(d.maps[bpf.WeirMapPeers], func(k bpf.WeirAddress, v bpf.WeirPeer) {
		lines[fmt.Sprintf("peer %s %d %d", addressOf(k), v.Class, v.Flags)] = true
	}))
	collect("cidrs", each(d.maps[bpf.WeirMapCidrs], func(k bpf.WeirCidrKey, v uint32) {
		lines[fmt.Sprintf("prefix %s %d", prefixOf(k), v)] = true
	}))
	collect("endpoints", each(d.maps[bpf.WeirMapEndpoints], func(k uint32, v bpf.WeirEndpoint) {
		lines[fmt.Sprintf("endpoint %d %d/%d mode %d flags %d", k, v.SetIngress, v.SetEgress, v.Mode, v.Flags)] = true
	}))
	collect("local_ips", each(d.maps[bpf.WeirMapLocalIps], func(k bpf.WeirAddress, v bpf.WeirOwner) {
		lines[fmt.Sprintf("local %s %d", addressOf(k), v)] = true
	}))
	return slices.Sorted(maps.Keys(lines))
}

func countKeys[K any](m *ebpf.Map) (int, error) {
	n := 0
	err := eachKey(m, func(K) { n++ })
	return n, err
}

func epochOf(t *testing.T, d *Datapath) uint32 {
	t.Helper()
	var epoch uint32
	check(t, d.maps[bpf.WeirMapEpoch].Lookup(uint32(0), &epoch))
	return epoch
}
