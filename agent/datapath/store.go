// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// store is where the ordered writes go. Keys and values are slices of one
// length; the int is how many were written or removed before an error.
type store interface {
	Put(table string, keys, values any) (int, error)
	// Remove is content with keys that are not there; they do not count.
	Remove(table string, keys any) (int, error)
	// Settle returns when no program runs that began before the call.
	Settle() error
}

// chunk is how many entries go into one batch call.
const chunk = 4096

// kernelStore writes to the maps, in batches where the kernel has them (hash
// 5.6, LPM trie 5.13), else one by one.
type kernelStore struct {
	maps     map[string]*ebpf.Map
	grace    *grace
	revision *revision
	singles  atomic.Bool        // some map had to be written one by one
	writes   map[string]*writes // of the tables that only the agent writes
}

// writes counts entries; one that is written again counts again.
type writes struct{ written, deleted atomic.Uint64 }

func newKernelStore(maps map[string]*ebpf.Map) (*kernelStore, error) {
	r, err := newRevision(maps[bpf.WeirMapRevision])
	if err != nil {
		return nil, err
	}
	g, err := newGrace()
	if err != nil {
		return nil, err
	}
	s := &kernelStore{maps: maps, grace: g, revision: r, writes: map[string]*writes{}}
	for _, name := range tableMaps {
		s.writes[name] = &writes{}
	}
	return s, nil
}

func (s *kernelStore) close() error { return s.grace.close() }

// counts of a table that only the agent writes.
func (s *kernelStore) counts(table string) (written, deleted uint64) {
	if w := s.writes[table]; w != nil {
		return w.written.Load(), w.deleted.Load()
	}
	return 0, 0
}

func (s *kernelStore) Settle() error { return s.grace.wait() }

func (s *kernelStore) Put(table string, keys, values any) (done int, err error) {
	if w := s.writes[table]; w != nil {
		defer func() { w.written.Add(uint64(done)) }()
	}
	m := s.maps[table]
	k, v := reflect.ValueOf(keys), reflect.ValueOf(values)
	for done < k.Len() {
		end := min(done+chunk, k.Len())
		n, err := m.BatchUpdate(k.Slice(done, end).Interface(), v.Slice(done, end).Interface(), nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			s.singles.Store(true)
			return s.putEach(m, k, v, done)
		}
		done += n
		if err := errors.Join(err, s.revision.move()); err != nil {
			return done, fmt.Errorf("write %s: %w", table, err)
		}
	}
	return done, nil
}

func (s *kernelStore) putEach(m *ebpf.Map, k, v reflect.Value, from int) (int, error) {
	for i := from; i < k.Len(); i++ {
		err := m.Put(k.Index(i).Interface(), v.Index(i).Interface())
		if err := errors.Join(err, s.revision.move()); err != nil {
			return i, fmt.Errorf("write %s: %w", m, err)
		}
	}
	return k.Len(), nil
}

func (s *kernelStore) Remove(table string, keys any) (removed int, err error) {
	if w := s.writes[table]; w != nil {
		defer func() { w.deleted.Add(uint64(removed)) }()
	}
	m := s.maps[table]
	k := reflect.ValueOf(keys)
	for at := 0; at < k.Len(); {
		n, err := m.BatchDelete(k.Slice(at, min(at+chunk, k.Len())).Interface(), nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			s.singles.Store(true)
			n, err := s.removeEach(m, k, at)
			return removed + n, err
		}
		if err := s.revision.move(); err != nil {
			return removed, err
		}
		removed += n
		at += n
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			at++ // the batch stopped at a key that is not there
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	return removed, nil
}

func (s *kernelStore) removeEach(m *ebpf.Map, k reflect.Value, from int) (int, error) {
	removed := 0
	for i := from; i < k.Len(); i++ {
		err := m.Delete(k.Index(i).Interface())
		if err := s.revision.move(); err != nil {
			return removed, err
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("delete from %s: %w", m, err)
		}
		removed++
	}
	return removed, nil
}

// noRoom: a hash says E2BIG, a trie ENOSPC; ENOMEM is a cgroup or a machine
// without memory for what is not preallocated.
func noRoom(err error) bool {
	return errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM)
}

// grace waits for the programs that run. An update of a map of maps from user
// space does so by itself, with synchronize_rcu, on every kernel since 5.0
// (maybe_wait_bpf_programs), so that who replaces an inner map may use the old
// one at once. membarrier(MEMBARRIER_CMD_GLOBAL) does too, but not on kernels
// that run with nohz_full.
type grace struct {
	outer *ebpf.Map
	inner [2]*ebpf.Map
	turn  int
}

func newGrace() (*grace, error) {
	g := &grace{}
	inner := &ebpf.MapSpec{Name: "weir_grace_in", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	var err error
	for i := range g.inner {
		if g.inner[i], err = ebpf.NewMap(inner); err != nil {
			return nil, errors.Join(fmt.Errorf("make the map that waits: %w", err), g.close())
		}
	}
	g.outer, err = ebpf.NewMap(&ebpf.MapSpec{Name: "weir_grace", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the map that waits: %w", err), g.close())
	}
	return g, nil
}

func (g *grace) wait() error {
	g.turn = 1 - g.turn
	if err := g.outer.Put(uint32(0), g.inner[g.turn]); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

func (g *grace) close() error {
	return errors.Join(g.outer.Close(), g.inner[0].Close(), g.inner[1].Close())
}
