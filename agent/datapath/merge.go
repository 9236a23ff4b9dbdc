// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// merge is one update with the effect of a, then b.
func merge(a, b compile.Update) compile.Update {
	if empty(a) {
		return b
	}
	m := compile.Update{MoveEpoch: a.MoveEpoch || b.MoveEpoch}
	m.Rows, m.GoneRows = join(a.Rows, b.Rows, a.GoneRows, b.GoneRows, func(r bpf.WeirRow) bpf.WeirRowKey { return r.Key })
	m.Peers, m.GonePeers = join(a.Peers, b.Peers, a.GonePeers, b.GonePeers, func(p resolve.PeerChange) netip.Addr { return p.Addr })
	m.Prefixes, m.GonePrefixes = join(a.Prefixes, b.Prefixes, a.GonePrefixes, b.GonePrefixes, func(p resolve.PrefixChange) netip.Prefix { return p.Prefix })
	m.Subjects, m.GoneSubjects = join(a.Subjects, b.Subjects, a.GoneSubjects, b.GoneSubjects, func(s compile.SubjectSets) policy.ObjectKey { return s.Pod })
	return m
}

func empty(u compile.Update) bool {
	return len(u.Rows)+len(u.Peers)+len(u.Prefixes)+len(u.Subjects)+len(u.GoneSubjects)+
		len(u.GonePeers)+len(u.GonePrefixes)+len(u.GoneRows) == 0 && !u.MoveEpoch
}

// join keeps of a what b neither writes again nor deletes, and of a's
// deletions what b does not write again. What a wrote and b deletes may or may
// not have been there before a, so the deletion stays.
func join[V any, K comparable](a, b []V, goneA, goneB []K, key func(V) K) ([]V, []K) {
	written := make(map[K]bool, len(b))
	for _, v := range b {
		written[key(v)] = true
	}
	over := make(map[K]bool, len(goneB))
	for _, k := range goneB {
		over[k] = true
	}
	var values []V
	for _, v := range a {
		if k := key(v); !written[k] && !over[k] {
			values = append(values, v)
		}
	}
	values = append(values, b...)
	var gone []K
	for _, k := range goneA {
		if !written[k] && !over[k] {
			gone = append(gone, k)
		}
	}
	return values, append(gone, goneB...)
}
