// SPDX-License-Identifier: Apache-2.0

package compile

import (
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

// rulesFor returns the indices of the rules that allow something to peers of
// class, in the order in which rules decide. To ask each rule for each class
// would take, with a thousand policies of one term each, a million questions.
func (s *setRows) rulesFor(class *resolve.Class) []int {
	rules := slices.Clone(s.anyPeer)
	for _, t := range class.Terms {
		rules = append(rules, s.rulesOf[t]...)
	}
	return distinct(rules)
}

// claimsOf returns what the rules of a set allow to peers of class, in the
// order in which rules decide.
func claimsOf(s *setRows, class *resolve.Class) []claim {
	var claims []claim
	for _, i := range s.rulesFor(class) {
		r := &s.set.Rules[i]
		if r.AnyPort {
			claims = append(claims, claim{0, interval{0, lastPort, r.ID}})
		}
		for _, p := range r.Ports {
			claims = appendPort(claims, p, r.ID, class)
		}
	}
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
func protocolsOf(claims []claim) []policy.Protocol {
	var protocols []policy.Protocol
	for _, c := range claims {
		if !slices.Contains(protocols, c.protocol) {
			protocols = append(protocols, c.protocol)
		}
	}
	slices.Sort(protocols)
	return protocols
}

// decide returns the intervals of one row: sorted, disjoint, each with the
// first rule that claims it. The row of a protocol holds the claims on every
// protocol too, since the row for every protocol is not read after it.
func decide(claims []claim, protocol policy.Protocol) []interval {
	var decided []interval
	for _, c := range claims {
		if c.protocol == protocol || c.protocol == 0 {
			decided = fill(decided, c.interval)
		}
	}
	return join(decided)
}

// fill adds to decided, which is sorted and disjoint, those parts of v that it
// does not hold yet.
func fill(decided []interval, v interval) []interval {
	first := sort.Search(len(decided), func(i int) bool { return decided[i].hi >= v.lo })
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

// pages writes intervals to as many rows as they need.
func pages(key bpf.WeirRowKey, intervals []interval) []bpf.WeirRow {
	var rows []bpf.WeirRow
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
