// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
)

// store knows which file holds each object, and what was handed on.
type store struct {
	holders map[objectID][]*file // sorted by path
	winners map[objectID]*object
	slices  map[policy.ObjectKey]map[objectID]*object // EndpointSlices of a Service
	// faults of Services, which show only when they are joined with their
	// EndpointSlices.
	faults map[policy.ObjectKey][]Problem

	dirty         map[objectID]struct{}
	dirtyServices map[policy.ObjectKey]struct{}

	namespaces map[string]policy.Namespace
	pods       map[policy.ObjectKey]*policy.Pod
	policies   map[policy.ObjectKey]*policy.Policy
	services   map[policy.ObjectKey]*policy.Service
}

func newStore() *store {
	return &store{
		holders:       make(map[objectID][]*file),
		winners:       make(map[objectID]*object),
		slices:        make(map[policy.ObjectKey]map[objectID]*object),
		faults:        make(map[policy.ObjectKey][]Problem),
		dirty:         make(map[objectID]struct{}),
		dirtyServices: make(map[policy.ObjectKey]struct{}),
		namespaces:    make(map[string]policy.Namespace),
		pods:          make(map[policy.ObjectKey]*policy.Pod),
		policies:      make(map[policy.ObjectKey]*policy.Policy),
		services:      make(map[policy.ObjectKey]*policy.Service),
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
		s.settle(id, &b)
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.dirtyServices), compareKeys) {
		s.settleService(key, &b)
	}
	clear(s.dirty)
	clear(s.dirtyServices)
	return b, reflect.ValueOf(b).IsZero()
}

func compareKeys(a, b policy.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (s *store) settle(id objectID, b *policy.Batch) {
	old := s.winners[id]
	var now *object
	if f := s.holder(id); f != nil {
		o := f.objects[id]
		now = &o
		s.winners[id] = now
	} else {
		delete(s.winners, id)
	}
	switch id.kind {
	case namespaceKind:
		var value *policy.Namespace
		if now != nil {
			value = &now.namespace
		}
		s.settleNamespace(id.name, value, b)
	case podKind:
		var value *policy.Pod
		if now != nil {
			value = now.pod
		}
		settle(s.pods, id.key(), value, &b.Pods, &b.DeletedPods)
	case policyKind:
		var value *policy.Policy
		if now != nil {
			value = now.policy
		}
		settle(s.policies, id.key(), value, &b.Policies, &b.DeletedPolicies)
	case serviceKind:
		s.dirtyServices[id.key()] = struct{}{}
	case sliceKind:
		s.moveSlice(id, old, now)
	}
}

func (s *store) settleNamespace(name string, now *policy.Namespace, b *policy.Batch) {
	old, was := s.namespaces[name]
	switch {
	case now == nil && was:
		delete(s.namespaces, name)
		b.DeletedNamespaces = append(b.DeletedNamespaces, name)
	case now != nil && (!was || !reflect.DeepEqual(old, *now)):
		s.namespaces[name] = *now
		b.Namespaces = append(b.Namespaces, *now)
	}
}

// settle compares one object with what was handed on.
func settle[T any](known map[policy.ObjectKey]*T, key policy.ObjectKey, now *T, written *[]*T, deleted *[]policy.ObjectKey) {
	old, was := known[key]
	switch {
	case now == nil && was:
		delete(known, key)
		*deleted = append(*deleted, key)
	case now != nil && (!was || !reflect.DeepEqual(old, now)):
		known[key] = now
		*written = append(*written, now)
	}
}

// moveSlice lists an EndpointSlice with the Service that it names now.
func (s *store) moveSlice(id objectID, old, now *object) {
	if old != nil {
		if key, ok := convert.ServiceOf(old.slice); ok {
			delete(s.slices[key], id)
			if len(s.slices[key]) == 0 {
				delete(s.slices, key)
			}
			s.dirtyServices[key] = struct{}{}
		}
	}
	if now == nil {
		return
	}
	if key, ok := convert.ServiceOf(now.slice); ok {
		if s.slices[key] == nil {
			s.slices[key] = make(map[objectID]*object)
		}
		s.slices[key][id] = now
		s.dirtyServices[key] = struct{}{}
	}
}

func (s *store) settleService(key policy.ObjectKey, b *policy.Batch) {
	delete(s.faults, key)
	id := objectID{kind: serviceKind, namespace: key.Namespace, name: key.Name}
	o := s.winners[id]
	if o == nil {
		settle(s.services, key, nil, &b.Services, &b.DeletedServices)
		return
	}
	var endpoints []*discoveryv1.EndpointSlice
	for _, slice := range slices.SortedFunc(maps.Keys(s.slices[key]), compareIDs) {
		endpoints = append(endpoints, s.slices[key][slice].slice)
	}
	service, faults, err := convert.Service(o.service, endpoints)
	if err != nil {
		faults = append(faults, err.Error())
		service = s.services[key]
	}
	path := s.holder(id).path
	for _, fault := range faults {
		s.faults[key] = append(s.faults[key], Problem{File: path, Line: o.line, Object: id.String(), Message: fault})
	}
	settle(s.services, key, service, &b.Services, &b.DeletedServices)
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
	for _, faults := range s.faults {
		out = append(out, faults...)
	}
	return out
}
