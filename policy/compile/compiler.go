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
	// by term, to find the pairs that need rows of their own.
	setsOf    map[resolve.TermID]map[resolve.SetID]struct{}
	classesOf map[resolve.TermID]map[resolve.ClassID]struct{}
	problems  map[bpf.WeirRowKey]Problem
}

// setRows is a set, and where it has rows.
type setRows struct {
	set     *resolve.Set
	terms   []resolve.TermID         // of all rules; sorted
	anyPeer []int                    // indices of the rules for every peer
	rulesOf map[resolve.TermID][]int // indices of the others, by term
	rows    map[resolve.ClassID][]bpf.WeirRowKey
}

func newSetRows(set *resolve.Set) *setRows {
	s := &setRows{set: set, rulesOf: map[resolve.TermID][]int{}, rows: map[resolve.ClassID][]bpf.WeirRowKey{}}
	for i, r := range set.Rules {
		s.terms = append(s.terms, r.Terms...)
		if r.AnyPeer {
			s.anyPeer = append(s.anyPeer, i)
			continue
		}
		for _, t := range r.Terms {
			s.rulesOf[t] = append(s.rulesOf[t], i)
		}
	}
	s.terms = distinct(s.terms)
	return s
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
		setsOf:    map[resolve.TermID]map[resolve.SetID]struct{}{},
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
	return s != nil && len(s.rows[0]) > 0
}

func (c *Compiler) addClass(class *resolve.Class, u *Update) {
	c.classes[class.ID] = class
	var sets []resolve.SetID
	for _, t := range class.Terms {
		note(c.classesOf, t, class.ID)
		sets = slices.AppendSeq(sets, maps.Keys(c.setsOf[t]))
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
		note(c.setsOf, t, set.ID)
		classes = slices.AppendSeq(classes, maps.Keys(c.classesOf[t]))
	}
	for _, id := range distinct(classes) {
		c.addRows(s, c.classes[id], u)
	}
}

// addRows makes the rows of one pair. A class without rows of a set falls to
// those of class 0.
func (c *Compiler) addRows(s *setRows, class *resolve.Class, u *Update) {
	claims := claimsOf(s, class)
	for _, protocol := range protocolsOf(claims) {
		key := bpf.WeirRowKey{Set: uint32(s.set.ID), Class: uint32(class.ID), Protocol: uint8(protocol)}
		intervals := decide(claims, protocol)
		if len(intervals) > maxIntervals {
			c.problems[key] = problemOf(key, s.set, intervals)
			intervals = intervals[:maxIntervals]
		}
		rows := pages(key, intervals)
		for _, row := range rows {
			s.rows[class.ID] = append(s.rows[class.ID], row.Key)
		}
		u.Rows = append(u.Rows, rows...)
	}
}

func (c *Compiler) dropSet(id resolve.SetID, u *Update) {
	s := c.sets[id]
	if s == nil {
		return
	}
	for _, class := range slices.Sorted(maps.Keys(s.rows)) {
		c.dropRows(s, class, u)
	}
	for _, t := range s.terms {
		forget(c.setsOf, t, id)
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
		forget(c.classesOf, t, id)
		sets = slices.AppendSeq(sets, maps.Keys(c.setsOf[t]))
	}
	for _, set := range distinct(sets) {
		c.dropRows(c.sets[set], id, u)
	}
	delete(c.classes, id)
}

func (c *Compiler) dropRows(s *setRows, class resolve.ClassID, u *Update) {
	for _, key := range s.rows[class] {
		u.GoneRows = append(u.GoneRows, key)
		delete(c.problems, key)
	}
	delete(s.rows, class)
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

func note[T, I cmp.Ordered](index map[T]map[I]struct{}, term T, id I) {
	if index[term] == nil {
		index[term] = map[I]struct{}{}
	}
	index[term][id] = struct{}{}
}

func forget[T, I cmp.Ordered](index map[T]map[I]struct{}, term T, id I) {
	delete(index[term], id)
	if len(index[term]) == 0 {
		delete(index, term)
	}
}

func distinct[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
