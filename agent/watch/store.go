// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/weirnet/weir/policy"
)

// store knows which file holds each object.
type store struct {
	holders map[objectID][]*file // sorted by path
	dirty   map[objectID]struct{}
	ledger  *ledger
}

func newStore() *store {
	return &store{
		holders: make(map[objectID][]*file),
		dirty:   make(map[objectID]struct{}),
		ledger:  newLedger(),
	}
}

// changed notes that f holds other versions of these objects than before, or
// that it holds them no more.
func (s *store) changed(f *file, ids []objectID) {
	for _, id := range ids {
		holders := s.holders[id]
		i, listed := slices.BinarySearchFunc(holders, f.path, func(h *file, path string) int { return cmp.Compare(h.path, path) })
		_, holds := f.objects[id]
		switch {
		case holds && !listed:
			s.holders[id] = slices.Insert(holders, i, f)
		case !holds && listed:
			s.holders[id] = slices.Delete(holders, i, i+1)
		}
		if len(s.holders[id]) == 0 {
			delete(s.holders, id)
		}
		s.dirty[id] = struct{}{}
	}
}

// holder is the file whose version of an object counts: the first by path, and
// one that is going away only where there is no other.
func (s *store) holder(id objectID) *file {
	for _, f := range s.holders[id] {
		if f.leaving.IsZero() {
			return f
		}
	}
	if holders := s.holders[id]; len(holders) > 0 {
		return holders[0]
	}
	return nil
}

// batch returns what changed since the last one; empty reports that nothing
// did.
func (s *store) batch() (b policy.Batch, empty bool) {
	for _, id := range slices.SortedFunc(maps.Keys(s.dirty), compareIDs) {
		var now *content
		if f := s.holder(id); f != nil {
			o := f.objects[id]
			now = &o.content
		}
		s.ledger.enter(id, now, &b)
	}
	s.ledger.join(&b)
	clear(s.dirty)
	return b, reflect.ValueOf(b).IsZero()
}

// problems are those that no single file shows.
func (s *store) problems() []Problem {
	var out []Problem
	for id, holders := range s.holders {
		if len(holders) < 2 {
			continue
		}
		first := s.holder(id)
		for _, f := range holders {
			if f == first || !f.leaving.IsZero() {
				continue
			}
			out = append(out, Problem{File: f.path, Line: f.objects[id].line, Object: id.String(),
				Message: fmt.Sprintf("the same object stands in %s, whose version holds; remove one of them", first.path)})
		}
	}
	for key, faults := range s.ledger.faults {
		id := objectID{kind: serviceKind, namespace: key.Namespace, name: key.Name}
		f := s.holder(id)
		for _, fault := range faults {
			out = append(out, Problem{File: f.path, Line: f.objects[id].line, Object: id.String(), Message: fault})
		}
	}
	return out
}
