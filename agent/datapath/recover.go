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

// openTables makes tables of this run's own, beside those of the run before,
// from which it reads the bindings. The programs of that run work on with
// theirs, which nobody writes any more: this run's classes mean nothing to
// that run's sets, so one table could not hold both.
func (d *Datapath) openTables() error {
	list, err := generations(d.opts.PinDir)
	if err != nil {
		return err
	}
	next := 1
	for _, g := range list {
		d.recoverFrom(g.dir)
		next = g.number + 1
	}
	if err := dropIncomplete(list); err != nil {
		return err
	}
	d.pins.tables = filepath.Join(d.opts.PinDir, fmt.Sprintf("%s%d", tablesPrefix, next))
	return openGroup(d.spec, d.pins.tables, tableMaps, d.maps)
}

// dropIncomplete unpins the tables of runs that ended before their Finish, but
// for the last: its bindings are kept until this run has its own. So an agent
// that fails at each start does not fill the memory with tables.
func dropIncomplete(list []generation) error {
	var errs []error
	for _, g := range list[:max(len(list)-1, 0)] {
		if !g.complete {
			errs = append(errs, os.RemoveAll(g.dir))
		}
	}
	return errors.Join(errs...)
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

// recover begins the mirror of the tables, and reserves what the run before
// uses.
func (d *Datapath) recover() error {
	d.tables = newTables()
	if err := d.maps[bpf.WeirMapEpoch].Lookup(uint32(0), &d.tables.epochValue); err != nil {
		return fmt.Errorf("read the epoch: %w", err)
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
	markCount = 3
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
	if uint64(to) <= d.raised[index] {
		return nil
	}
	m := d.maps[bpf.WeirMapMarks]
	var current uint64
	if err := m.Lookup(index, &current); err != nil {
		return fmt.Errorf("read mark %d: %w", index, err)
	}
	if uint64(to) > current {
		if err := m.Put(index, uint64(to)); err != nil {
			return fmt.Errorf("raise mark %d: %w", index, err)
		}
	}
	d.raised[index] = max(current, uint64(to))
	return nil
}
