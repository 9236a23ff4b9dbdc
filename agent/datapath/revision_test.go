// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"math"
	"reflect"
	"testing"

	"github.com/weirnet/weir/bpf"
)

// Whatever is written, and however, the programs hear of it.
func TestRevision(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	s := d.store.(*kernelStore)
	rows := manyRows(2)
	keys := []bpf.WeirRowKey{rows[0].Key, rows[1].Key}
	m, k, v := d.maps[bpf.WeirMapRows], reflect.ValueOf(keys), reflect.ValueOf(rows)
	told := func() (revision uint32) {
		t.Helper()
		check(t, d.maps[bpf.WeirMapRevision].Lookup(uint32(0), &revision))
		return revision
	}
	for name, write := range map[string]func() (int, error){
		"put":           func() (int, error) { return s.Put(bpf.WeirMapRows, keys, rows) },
		"remove":        func() (int, error) { return s.Remove(bpf.WeirMapRows, keys) },
		"put singly":    func() (int, error) { return s.putEach(m, k, v, 0) },
		"remove singly": func() (int, error) { return s.removeEach(m, k, 0) },
	} {
		check(t, m.Put(keys[1], rows[1])) // so that there is something to remove
		before := told()
		_, err := write()
		check(t, err)
		if now := told(); now == before || now == 0 {
			t.Errorf("%s: revision %d, %d before: the programs do not hear of it", name, now, before)
		}
	}
	s.revision.moved.Store(math.MaxUint32)
	check(t, s.revision.move())
	if now := told(); now != 1 {
		t.Errorf("revision %d after the last one, want 1: 0 says that there is none", now)
	}
}
