// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy/resolve"
)

// openTables uses the tables of the run before if their layout agrees and
// their rows leave room for a second generation beside the first; otherwise it
// makes new ones beside them. Incomplete ones, of a run that ended before its
// Finish, serve only to read bindings from.
func (d *Datapath) openTables() error {
	hash, err := layout(d.spec, tableMaps)
	if err != nil {
		return err
	}
	list, err := generations(d.opts.PinDir)
	if err != nil {
		return err
	}
	next, newest := 1, -1
	for i, g := range list {
		d.recoverFrom(g.dir)
		next = g.number + 1
		if g.complete {
			newest = i
		}
	}
	if newest >= 0 && list[newest].layout == hash {
		room, err := d.hasRoom(list[newest].dir)
		if err != nil {
			return err
		}
		if room {
			d.pins.tables, d.pins.reused = list[newest].dir, true
			return openGroup(d.spec, d.pins.tables, tableMaps, d.maps)
		}
	}
	d.pins.tables = filepath.Join(d.opts.PinDir, fmt.Sprintf("%s%d-%s", tablesPrefix, next, hash))
	return openGroup(d.spec, d.pins.tables, tableMaps, d.maps)
}

// hasRoom: the rows of a new run come beside those of the old, so a table that
// is more than half full would be full at every restart.
func (d *Datapath) hasRoom(dir string) (bool, error) {
	m, err := openMap(d.spec.Maps[bpf.WeirMapRows], filepath.Join(dir, bpf.WeirMapRows))
	if err != nil {
		return false, err
	}
	defer m.Close()
	n, err := countKeys[bpf.WeirRowKey](m)
	return n <= int(m.MaxEntries())/2, err
}

func countKeys[K any](m *ebpf.Map) (int, error) {
	n := 0
	err := eachKey(m, func(K) { n++ })
	return n, err
}

func eachKey[K any](m *ebpf.Map, f func(K)) error {
	var key K
	var previous any
	for range m.MaxEntries() + 1 {
		err := m.NextKey(previous, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk map: %w", err)
		}
		f(key)
		previous = key
	}
	return nil
}

// recoverFrom reads the bindings in dir. One that cannot be read is as one
// that was never there: the agent binds anew, from what the API says.
func (d *Datapath) recoverFrom(dir string) {
	locals, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpf.WeirMapLocalIps), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		d.warnUnread(dir, err)
		return
	}
	defer locals.Close()
	addrs := map[int][]netip.Addr{}
	err = each(locals, func(k bpf.WeirAddress, v bpf.WeirOwner) {
		addrs[int(v.Ifindex)] = append(addrs[int(v.Ifindex)], addressOf(k))
	})
	if err != nil {
		d.warnUnread(dir, err)
		return
	}
	endpoints, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpf.WeirMapEndpoints), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		d.warnUnread(dir, err)
		return
	}
	defer endpoints.Close()
	err = each(endpoints, func(ifindex uint32, value bpf.WeirEndpoint) {
		if ifindex == loopback {
			return // of a self test that was killed
		}
		r := Recovered{Ifindex: int(ifindex), Addrs: addrs[int(ifindex)], value: value}
		slices.SortFunc(r.Addrs, netip.Addr.Compare)
		d.recovered[r.Ifindex] = r
	})
	if err != nil {
		d.warnUnread(dir, err)
	}
}

func (d *Datapath) warnUnread(dir string, err error) {
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	d.log.Warn("bindings of an earlier agent cannot be read; pods are bound anew from the API", "pins", dir, "error", err)
}

func each[K, V any](m *ebpf.Map, f func(K, V)) error {
	var key K
	var value V
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		f(key, value)
	}
	return entries.Err()
}

// recover fills the mirror of the tables from the maps.
func (d *Datapath) recover() error {
	if err := d.tables.read(d.maps); err != nil {
		return fmt.Errorf("read back the tables: %w", err)
	}
	d.slots = newSlotPool(d.opts.Sizes.slots())
	for _, r := range d.recovered {
		d.slots.take(r.value.Slot)
	}
	return d.ensureBarriers()
}

// Recovered lists the bindings of the run before, by ifindex. The links may
// be gone by now.
func (d *Datapath) Recovered() []Recovered {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Recovered
	for _, ifindex := range slices.Sorted(maps.Keys(d.recovered)) {
		r := d.recovered[ifindex]
		r.Addrs = slices.Clone(r.Addrs)
		list = append(list, r)
	}
	return list
}

// Indices of map marks.
const (
	markClass = 0
	markSet   = 1
	markRule  = 2
)

// reservedSet is the set of the self test; no mark follows it.
const reservedSet = ^uint32(0)

// Marks are the highest ids that any run of this node has used. A new run
// begins above them.
func (d *Datapath) Marks() (resolve.Marks, error) {
	var class, set, rule uint64
	m := d.maps[bpf.WeirMapMarks]
	err := errors.Join(
		m.Lookup(uint32(markClass), &class), m.Lookup(uint32(markSet), &set), m.Lookup(uint32(markRule), &rule))
	if err != nil {
		return resolve.Marks{}, fmt.Errorf("read marks: %w", err)
	}
	return resolve.Marks{Class: resolve.ClassID(class), Set: resolve.SetID(set), Rule: resolve.RuleID(rule)}, nil
}

func (d *Datapath) raiseMark(index uint32, to uint32) error {
	m := d.maps[bpf.WeirMapMarks]
	var current uint64
	if err := m.Lookup(index, &current); err != nil {
		return fmt.Errorf("read mark %d: %w", index, err)
	}
	if uint64(to) <= current {
		return nil
	}
	if err := m.Put(index, uint64(to)); err != nil {
		return fmt.Errorf("raise mark %d: %w", index, err)
	}
	return nil
}
