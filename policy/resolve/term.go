// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/weirnet/weir/policy"
)

// TermID is the id of a term; equal terms of different policies have one id.
// Ids are never given twice in a run.
type TermID uint32

// term is one peer of a rule: selectors, a block, or (for an egress rule to
// every peer that names a port) the pods that carry a port of that name.
type term struct {
	id   TermID
	key  string
	refs int

	block *policy.Block
	port  *portName
	// namespace is set, and namespaces nil, where the peer is in the policy's
	// own namespace.
	namespace  string
	namespaces *policy.Selector
	pods       policy.Selector

	// names counts the egress rules that ask for a named port of this term's
	// pods: only then are their numbers part of a class.
	names map[portName]int
}

func (t *term) matches(pr *profile) bool {
	switch {
	case t.block != nil:
		return false
	case t.port != nil:
		return slices.ContainsFunc(pr.ports, func(p policy.NamedPort) bool {
			return p.Name == t.port.name && p.Protocol == t.port.protocol
		})
	case t.namespaces != nil:
		return pr.ns.known && t.namespaces.Matches(pr.ns.labels) && t.pods.Matches(pr.labels)
	}
	return t.namespace == pr.ns.name && t.pods.Matches(pr.labels)
}

// termTable holds the terms of the sections in force.
type termTable struct {
	last  TermID
	byKey map[string]*term
	index termIndex // without blocks
	// named are the terms whose pods' ports some rule names.
	named map[TermID]*term
	// changed are the terms that came, went, or whose names did, since
	// takeChanged.
	changed map[*term]struct{}
	// freshBlocks and goneBlocks are for the prefix tree.
	freshBlocks, goneBlocks []*term
}

func newTermTable() termTable {
	return termTable{byKey: map[string]*term{}, named: map[TermID]*term{}, changed: map[*term]struct{}{}}
}

// acquire returns the term that is like t, made if it is new.
func (tt *termTable) acquire(t *term) *term {
	if old := tt.byKey[t.key]; old != nil {
		old.refs++
		return old
	}
	tt.last++
	t.id, t.refs = tt.last, 1
	tt.byKey[t.key] = t
	if t.block != nil {
		tt.freshBlocks = append(tt.freshBlocks, t)
	} else {
		tt.index.insert(t)
		tt.changed[t] = struct{}{}
	}
	return t
}

func (tt *termTable) release(t *term) {
	if t.refs--; t.refs > 0 {
		return
	}
	delete(tt.byKey, t.key)
	if t.block != nil {
		tt.goneBlocks = append(tt.goneBlocks, t)
	} else {
		tt.index.remove(t)
		tt.changed[t] = struct{}{}
	}
}

func (tt *termTable) acquireName(t *term, name portName) {
	if t.names == nil {
		t.names = map[portName]int{}
		tt.named[t.id] = t
	}
	if t.names[name]++; t.names[name] == 1 {
		tt.changed[t] = struct{}{}
	}
}

func (tt *termTable) releaseName(t *term, name portName) {
	if t.names[name]--; t.names[name] > 0 {
		return
	}
	tt.changed[t] = struct{}{}
	delete(t.names, name)
	if len(t.names) == 0 {
		t.names = nil
		delete(tt.named, t.id)
	}
}

// takeChanged returns an index of what changed, and apart the blocks whose
// names did.
func (tt *termTable) takeChanged() (*termIndex, []*term) {
	changed, blocks := &termIndex{}, []*term(nil)
	for t := range tt.changed {
		if t.block != nil {
			blocks = append(blocks, t)
		} else {
			changed.insert(t)
		}
	}
	clear(tt.changed)
	return changed, blocks
}

// asked returns those of ports that a rule asks of one of the terms. All are
// sorted.
func (tt *termTable) asked(terms []TermID, ports []policy.NamedPort) []policy.NamedPort {
	if len(tt.named) == 0 || len(ports) == 0 {
		return nil
	}
	var asked []policy.NamedPort
	for _, p := range ports {
		name := portName{p.Name, p.Protocol}
		if slices.ContainsFunc(terms, func(id TermID) bool { return tt.named[id] != nil && tt.named[id].names[name] > 0 }) {
			asked = append(asked, p)
		}
	}
	return asked
}

// newTerm returns the term of a peer of a policy in namespace, or nil if the
// peer can match nothing.
func newTerm(p policy.Peer, namespace string) *term {
	switch {
	case p.Block != nil && p.Pods == nil && p.Namespaces == nil:
		return newBlockTerm(*p.Block)
	case p.Block != nil, p.Pods == nil && p.Namespaces == nil:
		return nil
	}
	t := &term{}
	if p.Pods != nil {
		t.pods = *p.Pods
	}
	buf := []byte("own ")
	if p.Namespaces == nil {
		t.namespace = namespace
		buf = strconv.AppendQuote(buf, namespace)
	} else {
		t.namespaces = p.Namespaces
		buf = appendSelector([]byte("of "), *p.Namespaces)
	}
	t.key = string(appendSelector(append(buf, " pods "...), t.pods))
	return t
}

func newNameTerm(name portName) *term {
	buf := strconv.AppendQuote([]byte("port "), name.name)
	return &term{port: &name, key: string(strconv.AppendUint(append(buf, ' '), uint64(name.protocol), 10))}
}

func newBlockTerm(b policy.Block) *term {
	prefix := b.Prefix.Masked()
	if !usable(prefix) {
		return nil
	}
	var excepts []netip.Prefix
	for _, x := range b.Excepts {
		x = x.Masked()
		if usable(x) && x.Bits() >= prefix.Bits() && prefix.Contains(x.Addr()) {
			excepts = append(excepts, x)
		}
	}
	slices.SortFunc(excepts, comparePrefixes)
	excepts = slices.Compact(excepts)
	key := "block " + prefix.String()
	for _, x := range excepts {
		key += " but " + x.String()
	}
	return &term{block: &policy.Block{Prefix: prefix, Excepts: excepts}, key: key}
}

// usable reports whether p can hold an address of the wire. IPv4 written as
// IPv6 (::ffff:10.0.0.0/104) never does, and its key in the trie would be that
// of the IPv4 prefix.
func usable(p netip.Prefix) bool {
	return p.IsValid() && !(p.Addr().Is4In6() && p.Bits() >= 96)
}

// appendSelector writes equal selectors alike, whatever the order of their
// requirements and values.
func appendSelector(buf []byte, s policy.Selector) []byte {
	parts := make([]string, 0, len(s.Requirements))
	for _, r := range s.Requirements {
		part := append(strconv.AppendQuote(nil, r.Key), '0'+byte(r.Operator))
		if r.Operator == policy.In || r.Operator == policy.NotIn {
			values := slices.Clone(r.Values)
			slices.Sort(values)
			for _, v := range slices.Compact(values) {
				part = strconv.AppendQuote(part, v)
			}
		}
		parts = append(parts, string(part))
	}
	slices.Sort(parts)
	buf = append(buf, '{')
	for _, part := range slices.Compact(parts) {
		buf = append(append(buf, part...), ';')
	}
	return append(buf, '}')
}
