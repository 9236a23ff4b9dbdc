// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"encoding/binary"
	"slices"

	"github.com/weirnet/weir/policy"
)

// Set is the policies of one direction that apply to a pod, with all that
// depends on the pod resolved. It never changes. Pods share one only if all of
// it is equal.
type Set struct {
	ID        SetID
	Direction policy.Direction
	// Policies are ordered by namespace and name; each with the content that
	// this set was made of.
	Policies []*policy.Policy
	// Ports are the subject's named ports that ingress rules name.
	Ports []policy.NamedPort
	// Rules of all policies, in the order in which they decide.
	Rules []Rule

	key      string
	sections []*section
	subjects int // uses, counted by direction
	idle     bool
}

// Rule is a rule of a set. It allows what a term of it, or any peer, sends to
// one of its ports, or any.
type Rule struct {
	ID     RuleID
	Policy *policy.Policy
	// AnyPeer: every peer. Terms then holds the terms of the pods that carry
	// a port that the rule names, only because their rows differ from others'.
	AnyPeer bool
	Terms   []TermID // sorted
	AnyPort bool
	// Ports have names in egress only; a name stands for the numbers that the
	// peer's class has for it.
	Ports []policy.Port
}

// setTable interns sets, and gives the ids of sets and rules.
type setTable struct {
	lastSet     SetID
	lastRule    RuleID
	lastSection uint64
	byKey       map[string]*Set
	byID        map[SetID]*Set
	byRule      map[RuleID]*section
	fresh       []*Set
	freshRules  []RuleID
	idle        []*Set // no subject uses them; some may have been taken up again
	scratch     []byte
}

func newSetTable(set SetID, rule RuleID) setTable {
	return setTable{
		lastSet: set, lastRule: rule,
		byKey: map[string]*Set{}, byID: map[SetID]*Set{}, byRule: map[RuleID]*section{},
	}
}

// section returns that of a version, made at first need. One that was released
// is usable again: hold gives it new ids.
func (st *setTable) section(v *version, dir policy.Direction) *section {
	if v.sections[dir] == nil {
		st.lastSection++
		v.sections[dir] = newSection(st.lastSection, v.policy, dir)
	}
	return v.sections[dir]
}

// intern returns the set of these sections, sorted by policy, for a subject
// with these ports, sorted. It is nil without sections: not isolated.
func (st *setTable) intern(dir policy.Direction, sections []*section, ports []policy.NamedPort, tt *termTable) *Set {
	if len(sections) == 0 {
		return nil
	}
	ports = namedBy(sections, ports)
	key := binary.AppendUvarint(st.scratch[:0], uint64(len(sections)))
	for _, s := range sections {
		key = binary.AppendUvarint(key, s.id)
	}
	key = appendPorts(key, ports)
	st.scratch = key
	if set := st.byKey[string(key)]; set != nil {
		return set
	}
	st.lastSet++
	set := &Set{
		ID: st.lastSet, Direction: dir, Ports: ports, key: string(key), sections: sections,
		Policies: make([]*policy.Policy, 0, len(sections)), Rules: make([]Rule, 0, len(sections)),
	}
	for _, s := range sections {
		st.holdSection(s, tt)
		set.Policies = append(set.Policies, s.policy)
		for _, r := range s.rules {
			set.Rules = append(set.Rules, set.withNumbers(r))
		}
	}
	st.byKey[set.key], st.byID[set.ID] = set, set
	st.fresh = append(st.fresh, set)
	return set
}

func (st *setTable) holdSection(s *section, tt *termTable) {
	if !s.hold(tt, &st.lastRule) {
		return
	}
	for _, r := range s.rules {
		st.byRule[r.ID] = s
		st.freshRules = append(st.freshRules, r.ID)
	}
}

// withNumbers puts the subject's numbers for the names of an ingress rule.
func (s *Set) withNumbers(r Rule) Rule {
	named := func(p policy.Port) bool { return p.Name != "" }
	if s.Direction != policy.Ingress || !slices.ContainsFunc(r.Ports, named) {
		return r
	}
	var ports []policy.Port
	for _, p := range r.Ports {
		if p.Name == "" {
			ports = append(ports, p)
			continue
		}
		for _, own := range s.Ports {
			if own.Name == p.Name && own.Protocol == p.Protocol {
				ports = append(ports, policy.Port{Protocol: p.Protocol, First: own.Number, Last: own.Number})
			}
		}
	}
	r.Ports = ports
	return r
}

// namedBy returns those of ports that a section names.
func namedBy(sections []*section, ports []policy.NamedPort) []policy.NamedPort {
	var named []policy.NamedPort
	for _, p := range ports {
		name := portName{p.Name, p.Protocol}
		if slices.ContainsFunc(sections, func(s *section) bool { return slices.Contains(s.names, name) }) {
			named = append(named, p)
		}
	}
	return named
}

func (st *setTable) hold(s *Set) {
	if s != nil {
		s.subjects++
	}
}

func (st *setTable) release(s *Set) {
	if s == nil {
		return
	}
	if s.subjects--; s.subjects == 0 && !s.idle {
		s.idle = true
		st.idle = append(st.idle, s)
	}
}

// sweep drops the sets that no subject uses, and the sections and rules that
// were in no other.
func (st *setTable) sweep(tt *termTable) (sets []SetID, rules []RuleID) {
	for _, s := range st.idle {
		s.idle = false
		if s.subjects > 0 {
			continue
		}
		delete(st.byKey, s.key)
		delete(st.byID, s.ID)
		sets = append(sets, s.ID)
		for _, sec := range s.sections {
			gone := len(sec.rules)
			if !sec.release(tt) {
				continue
			}
			for i := range gone {
				id := sec.first + RuleID(i)
				delete(st.byRule, id)
				rules = append(rules, id)
			}
		}
	}
	st.idle = nil
	slices.Sort(sets)
	slices.Sort(rules)
	return sets, rules
}

// takeFresh returns the sets and rules that are new since.
func (st *setTable) takeFresh() ([]*Set, []RuleID) {
	sets, rules := st.fresh, st.freshRules
	st.fresh, st.freshRules = nil, nil
	return sets, rules
}
