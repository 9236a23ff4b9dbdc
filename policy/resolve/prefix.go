// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

var (
	// allIPv4 is always a node, so that no IPv6 prefix covers IPv4.
	allIPv4 = netip.MustParsePrefix("0.0.0.0/0")
	// linkLocal is always a node, and only blocks inside it count there: to
	// allow ::/0 is not to allow the link.
	linkLocal = netip.MustParsePrefix("fe80::/10")
)

// prefixNode is a prefix at which some block begins or is cut.
type prefixNode struct {
	prefix       netip.Prefix
	starts, cuts []TermID
	permanent    bool

	parent *prefixNode
	terms  []TermID // of all blocks that hold the prefix; sorted
	class  *Class   // as told; nil until then
}

func (n *prefixNode) used() bool { return n.permanent || len(n.starts) > 0 || len(n.cuts) > 0 }

// prefixTree holds the blocks of the terms in force.
type prefixTree struct {
	nodes   map[netip.Prefix]*prefixNode
	sorted  []*prefixNode // by address and length: parents before children
	added   []*prefixNode // not in sorted yet
	stale   bool
	dropped []*prefixNode // unused; told until Collect drops them
	scratch []TermID
}

func newPrefixTree() prefixTree {
	t := prefixTree{nodes: map[netip.Prefix]*prefixNode{}}
	t.node(allIPv4).permanent = true
	t.node(linkLocal).permanent = true
	return t
}

func (t *prefixTree) node(p netip.Prefix) *prefixNode {
	t.stale = true
	n := t.nodes[p]
	if n == nil {
		n = &prefixNode{prefix: p}
		t.nodes[p] = n
		t.added = append(t.added, n)
	}
	return n
}

func (t *prefixTree) insert(b *term) {
	n := t.node(b.block.Prefix)
	n.starts = append(n.starts, b.id)
	for _, x := range b.block.Excepts {
		n := t.node(x)
		n.cuts = append(n.cuts, b.id)
	}
}

func (t *prefixTree) remove(b *term) {
	n := t.node(b.block.Prefix)
	n.starts = withoutID(n.starts, b.id)
	for _, x := range b.block.Excepts {
		n := t.node(x)
		n.cuts = withoutID(n.cuts, b.id)
	}
}

func withoutID(ids []TermID, id TermID) []TermID {
	i := slices.Index(ids, id)
	return slices.Delete(ids, i, i+1)
}

// rebuild gives each node its parent and its terms: those of the parent, and
// what begins or is cut here. Each block is a node, so the parent is inside
// every block that holds the node. It returns the nodes whose terms are new.
func (t *prefixTree) rebuild() (moved []*prefixNode) {
	t.stale = false
	t.sorted = t.dropUnused(t.sorted)
	t.added = t.dropUnused(t.added)
	slices.SortFunc(t.added, compareNodes)
	slices.SortFunc(t.dropped, compareNodes)
	t.sorted = merge(t.sorted, t.added)
	t.added = nil
	var last *prefixNode
	for _, n := range t.sorted {
		parent := last
		for parent != nil && !parent.prefix.Contains(n.prefix.Addr()) {
			parent = parent.parent
		}
		n.parent, last = parent, n
		var terms []TermID
		if parent != nil && n.prefix != linkLocal {
			terms = parent.terms
		}
		t.scratch = membership(t.scratch, terms, n.starts, n.cuts)
		if n.class == nil || !slices.Equal(n.terms, t.scratch) {
			n.terms = slices.Clone(t.scratch)
			moved = append(moved, n)
		}
	}
	return moved
}

func (t *prefixTree) dropUnused(nodes []*prefixNode) []*prefixNode {
	return slices.DeleteFunc(nodes, func(n *prefixNode) bool {
		if n.used() {
			return false
		}
		delete(t.nodes, n.prefix)
		t.dropped = append(t.dropped, n)
		return true
	})
}

func compareNodes(a, b *prefixNode) int { return comparePrefixes(a.prefix, b.prefix) }

// merge puts the nodes of added among those of sorted; both are sorted.
func merge(sorted, added []*prefixNode) []*prefixNode {
	i, j := len(sorted)-1, len(added)-1
	sorted = append(sorted, added...)
	for to := len(sorted) - 1; j >= 0; to-- {
		if i >= 0 && compareNodes(sorted[i], added[j]) > 0 {
			sorted[to] = sorted[i]
			i--
		} else {
			sorted[to] = added[j]
			j--
		}
	}
	return sorted
}

// membership writes into buf.
func membership(buf, inherited, starts, cuts []TermID) []TermID {
	terms := append(append(buf[:0], inherited...), starts...)
	slices.Sort(terms)
	return slices.DeleteFunc(terms, func(id TermID) bool { return slices.Contains(cuts, id) })
}

// find returns the longest node that holds addr, nil if none does.
func (t *prefixTree) find(addr netip.Addr) *prefixNode {
	i := sort.Search(len(t.sorted), func(i int) bool { return t.sorted[i].prefix.Addr().Compare(addr) > 0 })
	if i == 0 {
		return nil
	}
	n := t.sorted[i-1]
	for n != nil && !n.prefix.Contains(addr) {
		n = n.parent
	}
	return n
}

// enclosing returns the longest node that holds all of p. (The longest that
// holds its first address may be a smaller one inside p.)
func (t *prefixTree) enclosing(p netip.Prefix) *prefixNode {
	n := t.find(p.Addr())
	for n != nil && n.prefix.Bits() > p.Bits() {
		n = n.parent
	}
	return n
}

// settlePrefixes applies the blocks that came and went, and reports whether a
// prefix has another class or is not there any more.
func (e *Engine) settlePrefixes(d *Delta) bool {
	t := &e.prefixes
	for _, b := range e.terms.freshBlocks {
		t.insert(b)
	}
	for _, b := range e.terms.goneBlocks {
		t.remove(b)
	}
	e.terms.freshBlocks, e.terms.goneBlocks = nil, nil
	if !t.stale {
		return false
	}
	for _, n := range t.rebuild() {
		e.tellPrefix(n, e.classes.intern(n.terms, nil), d)
	}
	// A node that goes says what its parent says before it is deleted: the
	// deletion then changes nothing, and its old class has no use.
	for _, n := range t.dropped {
		e.tellPrefix(n, e.baseClass(t.enclosing(n.prefix)), d)
	}
	return len(d.Prefixes) > 0 || len(t.dropped) > 0
}

func (e *Engine) tellPrefix(n *prefixNode, c *Class, d *Delta) {
	if n.class == c {
		return
	}
	e.classes.hold(c)
	if n.class != nil {
		e.classes.release(n.class)
	}
	n.class = c
	d.Prefixes = append(d.Prefixes, PrefixChange{Prefix: n.prefix, Class: c.ID})
}

func (e *Engine) baseClass(n *prefixNode) *Class {
	if n == nil {
		return e.classes.none
	}
	return n.class
}

func (e *Engine) dropPrefixes(d *Delta) {
	for _, n := range e.prefixes.dropped {
		e.classes.release(n.class)
		d.GonePrefixes = append(d.GonePrefixes, n.prefix)
	}
	e.prefixes.dropped = nil
}

// comparePrefixes puts IPv4 before IPv6 and a prefix before those inside it.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
