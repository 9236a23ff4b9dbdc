// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
)

// ledger is what was handed on, so that a batch holds only what differs from
// it, and the Services with their EndpointSlices, which are handed on joined.
type ledger struct {
	namespaces map[string]policy.Namespace
	pods       map[policy.ObjectKey]*policy.Pod
	policies   map[policy.ObjectKey]*policy.Policy
	services   map[policy.ObjectKey]*policy.Service

	plain map[policy.ObjectKey]*corev1.Service
	// parts are the EndpointSlices of a Service by their own names; owners says
	// which Service an EndpointSlice was listed with, since its label may change.
	parts  map[policy.ObjectKey]map[policy.ObjectKey]*discoveryv1.EndpointSlice
	owners map[policy.ObjectKey]policy.ObjectKey
	// faults of Services, which show only when they are joined.
	faults map[policy.ObjectKey][]string
	joins  map[policy.ObjectKey]struct{} // Services to be joined anew
}

func newLedger() *ledger {
	return &ledger{
		namespaces: make(map[string]policy.Namespace),
		pods:       make(map[policy.ObjectKey]*policy.Pod),
		policies:   make(map[policy.ObjectKey]*policy.Policy),
		services:   make(map[policy.ObjectKey]*policy.Service),
		plain:      make(map[policy.ObjectKey]*corev1.Service),
		parts:      make(map[policy.ObjectKey]map[policy.ObjectKey]*discoveryv1.EndpointSlice),
		owners:     make(map[policy.ObjectKey]policy.ObjectKey),
		faults:     make(map[policy.ObjectKey][]string),
		joins:      make(map[policy.ObjectKey]struct{}),
	}
}

func compareKeys(a, b policy.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// enter takes the present version of an object, nil for one that is gone, and
// adds to b what has to be handed on.
func (l *ledger) enter(id objectID, now *content, b *policy.Batch) {
	switch id.kind {
	case namespaceKind:
		l.enterNamespace(id.name, now, b)
	case podKind:
		settle(l.pods, id.key(), part(now, func(c *content) *policy.Pod { return c.pod }), &b.Pods, &b.DeletedPods)
	case policyKind:
		settle(l.policies, id.key(), part(now, func(c *content) *policy.Policy { return c.policy }), &b.Policies, &b.DeletedPolicies)
	case serviceKind:
		if now == nil {
			delete(l.plain, id.key())
		} else {
			l.plain[id.key()] = now.service
		}
		l.joins[id.key()] = struct{}{}
	case sliceKind:
		l.enterSlice(id.key(), part(now, func(c *content) *discoveryv1.EndpointSlice { return c.slice }))
	}
}

func part[T any](c *content, of func(*content) *T) *T {
	if c == nil {
		return nil
	}
	return of(c)
}

func (l *ledger) enterNamespace(name string, now *content, b *policy.Batch) {
	old, was := l.namespaces[name]
	switch {
	case now == nil && was:
		delete(l.namespaces, name)
		b.DeletedNamespaces = append(b.DeletedNamespaces, name)
	case now != nil && (!was || !reflect.DeepEqual(old, now.namespace)):
		l.namespaces[name] = now.namespace
		b.Namespaces = append(b.Namespaces, now.namespace)
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

// enterSlice lists an EndpointSlice with the Service that it names now.
func (l *ledger) enterSlice(key policy.ObjectKey, now *discoveryv1.EndpointSlice) {
	if owner, was := l.owners[key]; was {
		delete(l.owners, key)
		delete(l.parts[owner], key)
		if len(l.parts[owner]) == 0 {
			delete(l.parts, owner)
		}
		l.joins[owner] = struct{}{}
	}
	if now == nil {
		return
	}
	if owner, ok := convert.ServiceOf(now); ok {
		if l.parts[owner] == nil {
			l.parts[owner] = make(map[policy.ObjectKey]*discoveryv1.EndpointSlice)
		}
		l.parts[owner][key] = now
		l.owners[key] = owner
		l.joins[owner] = struct{}{}
	}
}

// join hands on the Services that differ, themselves or in their EndpointSlices.
func (l *ledger) join(b *policy.Batch) {
	for _, key := range slices.SortedFunc(maps.Keys(l.joins), compareKeys) {
		l.joinOne(key, b)
	}
	clear(l.joins)
}

func (l *ledger) joinOne(key policy.ObjectKey, b *policy.Batch) {
	delete(l.faults, key)
	plain := l.plain[key]
	if plain == nil {
		settle(l.services, key, nil, &b.Services, &b.DeletedServices)
		return
	}
	var endpoints []*discoveryv1.EndpointSlice
	for _, slice := range slices.SortedFunc(maps.Keys(l.parts[key]), compareKeys) {
		endpoints = append(endpoints, l.parts[key][slice])
	}
	service, faults, err := convert.Service(plain, endpoints)
	if err != nil {
		faults = append(faults, err.Error())
		service = l.services[key]
	}
	if len(faults) > 0 {
		l.faults[key] = faults
	}
	settle(l.services, key, service, &b.Services, &b.DeletedServices)
}
