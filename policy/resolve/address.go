// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// address is an exact address that a pod, a Service or the node has, or that
// still has an entry.
type address struct {
	addr     netip.Addr
	holders  []*pod
	services int
	node     bool

	entry bool // in the table of peers, with class and flags
	class *Class
	flags PeerFlags

	// base is the class by prefix that the last look saw.
	base  *Class
	stale bool
}

// address returns the state of addr, which the caller is about to change.
func (e *Engine) address(addr netip.Addr) *address {
	a := e.addresses[addr]
	if a == nil {
		a = &address{addr: addr}
		e.addresses[addr] = a
	}
	e.markAddress(a)
	return a
}

func (e *Engine) markAddress(a *address) {
	if !a.stale {
		a.stale = true
		e.staleAddresses = append(e.staleAddresses, a)
	}
}

func (e *Engine) setService(key policy.ObjectKey, ips []netip.Addr) {
	ips = cleanAddrs(ips)
	old := e.services[key]
	if slices.Equal(old, ips) {
		return
	}
	for _, ip := range old {
		e.address(ip).services--
	}
	for _, ip := range ips {
		e.address(ip).services++
	}
	if len(ips) == 0 {
		delete(e.services, key)
	} else {
		e.services[key] = ips
	}
}

// findStaleAddresses marks those whose prefix has another class than they last
// saw, and those in a block whose pods' named ports count now or no longer do.
func (e *Engine) findStaleAddresses(renamed []*term) {
	for _, a := range e.addresses {
		stale := a.base != e.baseClass(e.prefixes.find(a.addr)) || slices.ContainsFunc(renamed, func(t *term) bool {
			return t.block.Prefix.Contains(a.addr)
		})
		if stale {
			e.markAddress(a)
		}
	}
}

func (e *Engine) settleAddresses(d *Delta) {
	stale := e.staleAddresses
	slices.SortFunc(stale, func(a, b *address) int { return a.addr.Compare(b.addr) })
	e.staleAddresses = nil
	for _, a := range stale {
		a.stale = false
		e.settleAddress(a, d)
	}
}

// settleAddress writes an entry only where the prefixes do not say the same.
// An entry that is no longer needed is brought up to date before Collect
// removes it: a removal alone would come after the epoch, and flows judged
// again in between would keep the verdict of the old class.
func (e *Engine) settleAddress(a *address, d *Delta) {
	node := e.prefixes.find(a.addr)
	a.base = e.baseClass(node)
	want, flags := e.classOf(a, node), a.wantFlags()
	needed := flags != 0 || want != a.base
	if needed && !a.entry || a.entry && (want != a.class || flags != a.flags) {
		e.classes.hold(want)
		if a.entry {
			d.MoveEpoch = d.MoveEpoch || !a.class.within(want)
			e.classes.release(a.class)
		}
		a.entry, a.class, a.flags = true, want, flags
		d.Peers = append(d.Peers, PeerChange{Addr: a.addr, Class: want.ID, Flags: flags})
	}
	switch {
	case needed:
	case a.entry:
		e.redundant = append(e.redundant, a)
	case a.unused():
		delete(e.addresses, a.addr)
	}
}

func (a *address) unused() bool {
	return len(a.holders) == 0 && a.services == 0 && !a.node && !a.entry
}

func (a *address) wantFlags() PeerFlags {
	var flags PeerFlags
	if a.services > 0 {
		flags |= PeerService
	}
	if a.node {
		flags |= PeerNode
	}
	return flags
}

// classOf returns the class of what all holders of a satisfy, and of the
// blocks that cover it.
func (e *Engine) classOf(a *address, node *prefixNode) *Class {
	if len(a.holders) == 0 {
		return e.baseClass(node)
	}
	terms, ports := a.holders[0].profile.terms, a.holders[0].profile.ports
	for _, p := range a.holders[1:] {
		terms = common(terms, p.profile.terms)
		ports = common(ports, p.profile.ports)
	}
	if node != nil && len(node.terms) > 0 {
		terms = slices.Concat(terms, node.terms)
		slices.Sort(terms)
	}
	return e.classes.intern(terms, e.terms.asked(terms, ports))
}

// common returns what is in both, in the order of a, in a list of its own.
func common[T comparable](a, b []T) []T {
	var both []T
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}

// dropRedundant removes the entries that are still not needed.
func (e *Engine) dropRedundant(d *Delta) {
	for _, a := range e.redundant {
		if !a.entry || a.wantFlags() != 0 || a.class != a.base {
			continue
		}
		a.entry = false
		e.classes.release(a.class)
		a.class = nil
		d.GonePeers = append(d.GonePeers, a.addr)
		if a.unused() {
			delete(e.addresses, a.addr)
		}
	}
	e.redundant = nil
}
