// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// World is the present objects.
type World struct {
	Namespaces map[string]policy.Namespace
	Pods       map[policy.ObjectKey]*policy.Pod
	Policies   map[policy.ObjectKey]*policy.Policy
	Services   map[policy.ObjectKey]*policy.Service
}

// NewWorld has no objects.
func NewWorld() *World {
	return &World{
		Namespaces: map[string]policy.Namespace{}, Pods: map[policy.ObjectKey]*policy.Pod{},
		Policies: map[policy.ObjectKey]*policy.Policy{}, Services: map[policy.ObjectKey]*policy.Service{},
	}
}

// Apply takes a batch.
func (w *World) Apply(b policy.Batch) {
	for _, name := range b.DeletedNamespaces {
		delete(w.Namespaces, name)
	}
	for _, key := range b.DeletedPods {
		delete(w.Pods, key)
	}
	for _, key := range b.DeletedPolicies {
		delete(w.Policies, key)
	}
	for _, key := range b.DeletedServices {
		delete(w.Services, key)
	}
	for _, n := range b.Namespaces {
		w.Namespaces[n.Name] = n
	}
	for _, p := range b.Pods {
		w.Pods[p.ObjectKey] = p
	}
	for _, p := range b.Policies {
		w.Policies[p.ObjectKey] = p
	}
	for _, s := range b.Services {
		w.Services[s.ObjectKey] = s
	}
}

// Cluster is the world as the oracle reads it.
func (w *World) Cluster() *policy.Cluster {
	return &policy.Cluster{Namespaces: w.Namespaces, Pods: sorted(w.Pods), Policies: sorted(w.Policies)}
}

// Whole is the batch that makes this world out of nothing.
func (w *World) Whole() policy.Batch {
	b := policy.Batch{Pods: sorted(w.Pods), Policies: sorted(w.Policies), Services: sorted(w.Services)}
	for _, name := range slices.Sorted(maps.Keys(w.Namespaces)) {
		b.Namespaces = append(b.Namespaces, w.Namespaces[name])
	}
	return b
}

// Removal is the batch that empties this world.
func (w *World) Removal() policy.Batch {
	return policy.Batch{
		DeletedNamespaces: slices.Sorted(maps.Keys(w.Namespaces)), DeletedPods: keys(w.Pods),
		DeletedPolicies: keys(w.Policies), DeletedServices: keys(w.Services),
	}
}

// hasService reports whether addr is a Service's.
func (w *World) hasService(addr netip.Addr) bool {
	for _, s := range w.Services {
		if slices.Contains(s.IPs, addr) {
			return true
		}
	}
	return false
}

// Split makes a batch of each object of b.
func Split(b policy.Batch) []policy.Batch {
	var parts []policy.Batch
	for _, n := range b.DeletedNamespaces {
		parts = append(parts, policy.Batch{DeletedNamespaces: []string{n}})
	}
	for _, k := range b.DeletedPods {
		parts = append(parts, policy.Batch{DeletedPods: []policy.ObjectKey{k}})
	}
	for _, k := range b.DeletedPolicies {
		parts = append(parts, policy.Batch{DeletedPolicies: []policy.ObjectKey{k}})
	}
	for _, k := range b.DeletedServices {
		parts = append(parts, policy.Batch{DeletedServices: []policy.ObjectKey{k}})
	}
	for _, n := range b.Namespaces {
		parts = append(parts, policy.Batch{Namespaces: []policy.Namespace{n}})
	}
	for _, p := range b.Pods {
		parts = append(parts, policy.Batch{Pods: []*policy.Pod{p}})
	}
	for _, p := range b.Policies {
		parts = append(parts, policy.Batch{Policies: []*policy.Policy{p}})
	}
	for _, s := range b.Services {
		parts = append(parts, policy.Batch{Services: []*policy.Service{s}})
	}
	return parts
}

func keys[V any](m map[policy.ObjectKey]V) []policy.ObjectKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b policy.ObjectKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func sorted[V any](m map[policy.ObjectKey]V) []V {
	var out []V
	for _, key := range keys(m) {
		out = append(out, m[key])
	}
	return out
}
