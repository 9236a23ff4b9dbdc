// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
	"sort"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

const (
	pageIntervals = int(bpf.WeirRowLimitROW_INTERVALS)
	maxIntervals  = pageIntervals * int(bpf.WeirRowLimitROW_PAGES)
	lastPort      = 65535
)

// interval is a range of ports, inclusive, that a rule allows.
type interval struct {
	lo, hi int
	rule   resolve.RuleID
}

// claim is an interval that a rule allows in a protocol, before it is known
// which rule decides. Protocol 0: in every protocol.
type claim struct {
	protocol policy.Protocol
	interval
}

// workbench is the memory in which one row after the other is made: a change of
// one policy may make a thousand. What its methods return holds until the next
// call of the same.
type workbench struct {
	rules     []int
	claims    []claim
	protocols []policy.Protocol
	intervals []interval
}

// rulesFor returns the indices of the rules that allow something to peers of
// class, in the order in which rules decide. To ask each rule for each class
// would take, with a thousand policies of one term each, a million questions.
func (b *workbench) rulesFor(s *setRows, class *resolve.Class) []int {
	rules := append(b.rules[:0], s.anyPeer...)
	for _, t := range class.Terms {
		i, _ := slices.BinarySearchFunc(s.others, t, func(r termRule, t resolve.TermID) int { return cmp.Compare(r.term, t) })
		for ; i < len(s.others) && s.others[i].term == t; i++ {
			rules = append(rules, s.others[i].rule)
		}
	}
	b.rules = rules
	return distinct(rules)
}

// claimsOf returns what the rules of a set allow to peers of class, in the
// order in which rules decide.
func (b *workbench) claimsOf(s *setRows, class *resolve.Class) []claim {
	claims := b.claims[:0]
	for _, i := range b.rulesFor(s, class) {
		r := &s.set.Rules[i]
		if r.AnyPort {
			claims = append(claims, claim{0, interval{0, lastPort, r.ID}})
		}
		for _, p := range r.Ports {
			claims = appendPort(claims, p, r.ID, class)
		}
	}
	b.claims = claims
	return claims
}

func appendPort(claims []claim, p policy.Port, rule resolve.RuleID, class *resolve.Class) []claim {
	if p.Name == "" {
		return append(claims, claim{p.Protocol, interval{int(p.First), int(p.Last), rule}})
	}
	for _, own := range class.Ports {
		if own.Name == p.Name && own.Protocol == p.Protocol {
			claims = append(claims, claim{p.Protocol, interval{int(own.Number), int(own.Number), rule}})
		}
	}
	return claims
}

// protocolsOf returns the protocols that have a row: those that a claim names.
func (b *workbench) protocolsOf(claims []claim) []policy.Protocol {
	protocols := b.protocols[:0]
	for _, c := range claims {
		if !slices.Contains(protocols, c.protocol) {
			protocols = append(protocols, c.protocol)
		}
	}
	slices.Sort(protocols)
	b.protocols = protocols
	return protocols
}

// decide returns the intervals of one row: sorted, disjoint, each with the
// first rule that claims it. The row of a protocol holds the claims on every
// protocol too, since the row for every protocol is not read after it.
func (b *workbench) decide(claims []claim, protocol policy.Protocol) []interval {
	decided := b.intervals[:0]
	for _, c := range claims {
		if c.protocol == protocol || c.protocol == 0 {
			decided = fill(decided, c.interval)
		}
	}
	b.intervals = decided
	return join(decided)
}

// fill adds to decided, which is sorted and disjoint, those parts of v that it
// does not hold yet.
func fill(decided []interval, v interval) []interval {
	first := sort.Search(len(decided), func(i int) bool { return decided[i].hi >= v.lo })
	if first == len(decided) || v.hi < decided[first].lo {
		return slices.Insert(decided, first, v)
	}
	var merged []interval
	last := first
	for ; last < len(decided) && decided[last].lo <= v.hi; last++ {
		if v.lo < decided[last].lo {
			merged = append(merged, interval{v.lo, decided[last].lo - 1, v.rule})
		}
		merged = append(merged, decided[last])
		v.lo = decided[last].hi + 1
	}
	if v.lo <= v.hi {
		merged = append(merged, v)
	}
	return slices.Replace(decided, first, last, merged...)
}

// join makes one of adjacent intervals of one rule.
func join(sorted []interval) []interval {
	joined := sorted[:0]
	for _, v := range sorted {
		if n := len(joined); n > 0 && joined[n-1].rule == v.rule && joined[n-1].hi+1 == v.lo {
			joined[n-1].hi = v.hi
		} else {
			joined = append(joined, v)
		}
	}
	return joined
}

// appendPages writes intervals to as many rows as they need.
func appendPages(rows []bpf.WeirRow, key bpf.WeirRowKey, intervals []interval) []bpf.WeirRow {
	for len(intervals) > 0 {
		n := min(len(intervals), pageIntervals)
		row := bpf.WeirRow{Key: key, Count: uint16(n)}
		for i, v := range intervals[:n] {
			out := &row.Intervals[i]
			out.Lo, out.Hi = uint16(v.lo), uint16(v.hi)
			out.Rule, out.Action = uint32(v.rule), uint8(bpf.WeirActionACTION_ALLOW)
		}
		if intervals = intervals[n:]; len(intervals) > 0 {
			row.More = 1
		}
		rows = append(rows, row)
		key.Page++
	}
	return rows
}
