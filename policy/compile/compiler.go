// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// Compiler makes the rows of sets and classes as they come, and remembers
// which there are. Its methods must be called from one goroutine at a time.
type Compiler struct {
	sets    map[resolve.SetID]*setRows
	classes map[resolve.ClassID]*resolve.Class
	// by term, to find the pairs that need rows of their own. A term is in few
	// sets, those of this node's pods, but may be in the classes of a cluster.
	setsOf    map[resolve.TermID][]resolve.SetID
	classesOf map[resolve.TermID]map[resolve.ClassID]struct{}
	problems  map[bpf.WeirRowKey]Problem
	workbench workbench
}

// setRows is a set, and where it has rows.
type setRows struct {
	set     *resolve.Set
	terms   []resolve.TermID // of all rules; sorted
	anyPeer []int            // indices of the rules for every peer
	others  []termRule       // sorted
	rows    []bpf.WeirRowKey // by class, with its rows in the order in which they were made
}

// termRule: a rule, by its index, names the term.
type termRule struct {
	term resolve.TermID
	rule int
}

func newSetRows(set *resolve.Set) *setRows {
	s := &setRows{set: set, terms: make([]resolve.TermID, 0, len(set.Rules)), others: make([]termRule, 0, len(set.Rules))}
	for i, r := range set.Rules {
		s.terms = append(s.terms, r.Terms...)
		if r.AnyPeer {
			s.anyPeer = append(s.anyPeer, i)
			continue
		}
		for _, t := range r.Terms {
			s.others = append(s.others, termRule{t, i})
		}
	}
	s.terms = distinct(s.terms)
	slices.SortFunc(s.others, func(a, b termRule) int { return cmp.Or(cmp.Compare(a.term, b.term), cmp.Compare(a.rule, b.rule)) })
	return s
}

// rowsOf returns where those of a class are, or would be, in s.rows.
func (s *setRows) rowsOf(class resolve.ClassID) (from, to int) {
	from, _ = slices.BinarySearchFunc(s.rows, uint32(class), func(k bpf.WeirRowKey, class uint32) int { return cmp.Compare(k.Class, class) })
	for to = from; to < len(s.rows) && s.rows[to].Class == uint32(class); to++ {
	}
	return from, to
}

// Problem is a row with more intervals than its pages hold. The intervals with
// the highest ports are left out: the row allows less than the rules do, never
// more.
type Problem struct {
	Set       resolve.SetID
	Class     resolve.ClassID
	Protocol  policy.Protocol
	Intervals int // that the rules make
	// Policies that lost intervals, by namespace and name.
	Policies []policy.ObjectKey
}

// New returns a compiler without any set or class but class 0.
func New() *Compiler {
	return &Compiler{
		sets:      map[resolve.SetID]*setRows{},
		classes:   map[resolve.ClassID]*resolve.Class{0: {}},
		setsOf:    map[resolve.TermID][]resolve.SetID{},
		classesOf: map[resolve.TermID]map[resolve.ClassID]struct{}{},
		problems:  map[bpf.WeirRowKey]Problem{},
	}
}

// Compile turns a delta into writes. Every delta of an engine must come here,
// once and in order.
func (c *Compiler) Compile(d *resolve.Delta) *Update {
	u := &Update{
		Peers: d.Peers, Prefixes: d.Prefixes, MoveEpoch: d.MoveEpoch,
		GoneSubjects: d.GoneSubjects, GonePeers: d.GonePeers, GonePrefixes: d.GonePrefixes,
	}
	// Sets that go with this delta get rows for its new classes all the same:
	// a packet may still be under way with such a set when the addresses move.
	for _, class := range d.NewClasses {
		c.addClass(class, u)
	}
	for _, set := range d.NewSets {
		c.addSet(set, u)
	}
	for _, s := range d.Subjects {
		u.Subjects = append(u.Subjects, SubjectSets{
			SubjectChange: s, IngressAny: c.hasAny(s.Ingress), EgressAny: c.hasAny(s.Egress),
		})
	}
	for _, id := range d.GoneSets {
		c.dropSet(id, u)
	}
	for _, id := range d.GoneClasses {
		c.dropClass(id, u)
	}
	return u
}

// Problems returns those of the rows in force, by set, class and protocol.
func (c *Compiler) Problems() []Problem {
	return slices.SortedFunc(maps.Values(c.problems), func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Protocol, b.Protocol))
	})
}

func (c *Compiler) hasAny(id resolve.SetID) bool {
	s := c.sets[id]
	return s != nil && len(s.rows) > 0 && s.rows[0].Class == 0
}

func (c *Compiler) addClass(class *resolve.Class, u *Update) {
	c.classes[class.ID] = class
	var sets []resolve.SetID
	for _, t := range class.Terms {
		c.noteClass(t, class.ID)
		sets = append(sets, c.setsOf[t]...)
	}
	for _, id := range distinct(sets) {
		c.addRows(c.sets[id], class, u)
	}
}

func (c *Compiler) addSet(set *resolve.Set, u *Update) {
	s := newSetRows(set)
	c.sets[set.ID] = s
	classes := []resolve.ClassID{0}
	for _, t := range s.terms {
		c.setsOf[t] = append(c.setsOf[t], set.ID)
		classes = slices.AppendSeq(classes, maps.Keys(c.classesOf[t]))
	}
	classes = distinct(classes)
	u.Rows, s.rows = slices.Grow(u.Rows, len(classes)), slices.Grow(s.rows, len(classes))
	for _, id := range classes {
		c.addRows(s, c.classes[id], u)
	}
}

// addRows makes the rows of one pair. A class without rows of a set falls to
// those of class 0.
func (c *Compiler) addRows(s *setRows, class *resolve.Class, u *Update) {
	claims := c.workbench.claimsOf(s, class)
	_, at := s.rowsOf(class.ID)
	for _, protocol := range c.workbench.protocolsOf(claims) {
		key := bpf.WeirRowKey{Set: uint32(s.set.ID), Class: uint32(class.ID), Protocol: uint8(protocol)}
		intervals := c.workbench.decide(claims, protocol)
		if len(intervals) > maxIntervals {
			c.problems[key] = problemOf(key, s.set, intervals)
			intervals = intervals[:maxIntervals]
		}
		before := len(u.Rows)
		u.Rows = appendPages(u.Rows, key, intervals)
		for _, row := range u.Rows[before:] {
			s.rows = slices.Insert(s.rows, at, row.Key)
			at++
		}
	}
}

func (c *Compiler) dropSet(id resolve.SetID, u *Update) {
	s := c.sets[id]
	if s == nil {
		return
	}
	c.dropRows(s.rows, u)
	for _, t := range s.terms {
		c.setsOf[t] = slices.DeleteFunc(c.setsOf[t], func(other resolve.SetID) bool { return other == id })
		if len(c.setsOf[t]) == 0 {
			delete(c.setsOf, t)
		}
	}
	delete(c.sets, id)
}

func (c *Compiler) dropClass(id resolve.ClassID, u *Update) {
	class := c.classes[id]
	if class == nil || id == 0 {
		return
	}
	var sets []resolve.SetID
	for _, t := range class.Terms {
		c.forgetClass(t, id)
		sets = append(sets, c.setsOf[t]...)
	}
	for _, set := range distinct(sets) {
		s := c.sets[set]
		from, to := s.rowsOf(id)
		c.dropRows(s.rows[from:to], u)
		s.rows = slices.Delete(s.rows, from, to)
	}
	delete(c.classes, id)
}

func (c *Compiler) dropRows(keys []bpf.WeirRowKey, u *Update) {
	u.GoneRows = append(u.GoneRows, keys...)
	for _, key := range keys {
		delete(c.problems, key)
	}
}

// problemOf names the policies whose intervals lie beyond the limit.
func problemOf(key bpf.WeirRowKey, set *resolve.Set, intervals []interval) Problem {
	p := Problem{
		Set: set.ID, Class: resolve.ClassID(key.Class), Protocol: policy.Protocol(key.Protocol),
		Intervals: len(intervals),
	}
	lost := map[resolve.RuleID]bool{}
	for _, v := range intervals[maxIntervals:] {
		lost[v.rule] = true
	}
	for _, r := range set.Rules {
		if lost[r.ID] && !slices.Contains(p.Policies, r.Policy.ObjectKey) {
			p.Policies = append(p.Policies, r.Policy.ObjectKey)
		}
	}
	return p
}

func (c *Compiler) noteClass(term resolve.TermID, id resolve.ClassID) {
	if c.classesOf[term] == nil {
		c.classesOf[term] = map[resolve.ClassID]struct{}{}
	}
	c.classesOf[term][id] = struct{}{}
}

func (c *Compiler) forgetClass(term resolve.TermID, id resolve.ClassID) {
	delete(c.classesOf[term], id)
	if len(c.classesOf[term]) == 0 {
		delete(c.classesOf, term)
	}
}

func distinct[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
