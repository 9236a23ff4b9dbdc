// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"

	"github.com/weirnet/weir/policy"
)

// Engine holds the present objects and what follows from them for one node.
// Its methods must be called from one goroutine at a time.
type Engine struct {
	node       string
	namespaces map[string]*namespace
	pods       map[policy.ObjectKey]*pod
	services   map[policy.ObjectKey][]netip.Addr
	nodeAddrs  []netip.Addr
	subjects   map[policy.ObjectKey]*subject
	addresses  map[netip.Addr]*address

	terms    termTable
	classes  classTable
	prefixes prefixTree
	sets     setTable

	staleSubjects  map[*subject]struct{}
	staleProfiles  []*profile
	staleAddresses []*address
	// redundant entries say what the prefixes say; Collect removes them.
	redundant []*address
}

// New returns an engine for the node of that name without any object. Every id
// that it gives is above marks, those of an earlier run.
func New(node string, marks Marks) *Engine {
	return &Engine{
		node:          node,
		namespaces:    map[string]*namespace{},
		pods:          map[policy.ObjectKey]*pod{},
		services:      map[policy.ObjectKey][]netip.Addr{},
		subjects:      map[policy.ObjectKey]*subject{},
		addresses:     map[netip.Addr]*address{},
		terms:         newTermTable(),
		classes:       newClassTable(marks.Class),
		sets:          newSetTable(marks.Set, marks.Rule),
		prefixes:      newPrefixTree(),
		staleSubjects: map[*subject]struct{}{},
	}
}

// Marks returns the highest ids given so far.
func (e *Engine) Marks() Marks {
	return Marks{Class: e.classes.last, Set: e.sets.lastSet, Rule: e.sets.lastRule}
}

// Apply takes a batch as a whole and returns what it changes. Terms, classes,
// sets and rules that nothing needs any more stay until Collect, so that an
// address that moves to its new class still says to the sets in force all that
// it said before.
func (e *Engine) Apply(b policy.Batch) *Delta {
	d := &Delta{}
	for _, key := range b.DeletedPods {
		e.deletePod(key, d)
	}
	for _, name := range b.DeletedNamespaces {
		e.setNamespace(policy.Namespace{Name: name}, false)
	}
	for _, key := range b.DeletedPolicies {
		e.deletePolicy(key)
	}
	for _, key := range b.DeletedServices {
		e.setService(key, nil)
	}
	for _, ns := range b.Namespaces {
		e.setNamespace(ns, true)
	}
	for _, p := range b.Pods {
		e.setPod(p, d)
	}
	for _, p := range b.Policies {
		e.setPolicy(p)
	}
	for _, s := range b.Services {
		e.setService(s.ObjectKey, s.IPs)
	}
	e.settleSubjects(d)
	e.settle(d)
	return d
}

// SetNodeAddrs tells all addresses of this node, broadcast addresses too. They
// replace those told before.
func (e *Engine) SetNodeAddrs(addrs []netip.Addr) *Delta {
	for _, addr := range e.nodeAddrs {
		e.address(addr).node = false
	}
	e.nodeAddrs = cleanAddrs(addrs)
	for _, addr := range e.nodeAddrs {
		e.address(addr).node = true
	}
	d := &Delta{}
	e.settle(d)
	return d
}

// Collect drops what nothing refers to any more. It is called once the
// endpoints have the sets of every Delta so far. It changes no verdict and
// never moves the epoch: only terms that no set in force names are dropped.
func (e *Engine) Collect() *Delta {
	d := &Delta{}
	d.GoneSets, d.GoneRules = e.sets.sweep(&e.terms)
	e.settle(d)
	d.MoveEpoch = false
	e.dropPrefixes(d)
	e.dropRedundant(d)
	d.GoneClasses = e.classes.sweep()
	return d
}

// settle brings profiles, prefixes and addresses up to date, in this order,
// since each reads the one before.
func (e *Engine) settle(d *Delta) {
	renamed := e.settleProfiles()
	changed := e.settlePrefixes(d)
	if changed || len(renamed) > 0 {
		e.findStaleAddresses(renamed)
	}
	e.settleAddresses(d)
	d.NewClasses = e.classes.takeFresh()
	d.NewSets, d.NewRules = e.sets.takeFresh()
}

// Empty reports whether d changes nothing.
func (d *Delta) Empty() bool {
	return len(d.NewClasses) == 0 && len(d.NewSets) == 0 &&
		len(d.Peers) == 0 && len(d.Prefixes) == 0 && len(d.Subjects) == 0 && !d.MoveEpoch &&
		len(d.GoneSubjects) == 0 && len(d.GonePeers) == 0 && len(d.GonePrefixes) == 0 &&
		len(d.GoneSets) == 0 && len(d.GoneClasses) == 0 && len(d.GoneRules) == 0
}
