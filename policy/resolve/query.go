// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// Set returns a set that is not collected yet, or nil.
func (e *Engine) Set(id SetID) *Set { return e.sets.byID[id] }

// Sets returns all sets that are not collected yet, by id.
func (e *Engine) Sets() []*Set {
	return slices.SortedFunc(maps.Values(e.sets.byID), func(a, b *Set) int { return cmp.Compare(a.ID, b.ID) })
}

// Class returns the class that the data path finds for addr.
func (e *Engine) Class(addr netip.Addr) ClassID {
	addr = addr.Unmap().WithZone("")
	if a := e.addresses[addr]; a != nil && a.entry {
		return a.class.ID
	}
	return e.baseClass(e.prefixes.find(addr)).ID
}

// Classes returns all classes that are not collected yet, by id; class 0 is
// not among them.
func (e *Engine) Classes() []*Class {
	classes := make([]*Class, 0, len(e.classes.byKey))
	for _, c := range e.classes.byKey {
		if c != e.classes.none {
			classes = append(classes, c)
		}
	}
	slices.SortFunc(classes, func(a, b *Class) int { return cmp.Compare(a.ID, b.ID) })
	return classes
}

// Rule returns what a rule id stands for, with the content of the policy that
// it was given for. ok is false if the id was never given or is collected.
func (e *Engine) Rule(id RuleID) (ref policy.RuleRef, content *policy.Policy, ok bool) {
	s := e.sets.byRule[id]
	if s == nil {
		return policy.RuleRef{}, nil, false
	}
	return policy.RuleRef{Policy: s.policy.ObjectKey, Direction: s.dir, Index: int(id - s.first)}, s.policy, true
}

// Policies returns the present policies that select a pod, by name. It may be
// a pod of another node.
func (e *Engine) Policies(pod policy.ObjectKey) []*policy.Policy {
	p := e.pods[pod]
	if p == nil {
		return nil
	}
	var policies []*policy.Policy
	for _, v := range selecting(e.namespaces[pod.Namespace], p.object) {
		policies = append(policies, v.policy)
	}
	return policies
}

// Subjects returns every pod of this node that can be selected, with its sets,
// by namespace and name.
func (e *Engine) Subjects() []SubjectChange {
	changes := make([]SubjectChange, 0, len(e.subjects))
	for _, s := range e.subjects {
		changes = append(changes, s.change())
	}
	slices.SortFunc(changes, func(a, b SubjectChange) int { return compareKeys(a.Pod, b.Pod) })
	return changes
}
