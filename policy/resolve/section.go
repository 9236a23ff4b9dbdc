// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"slices"

	"github.com/weirnet/weir/policy"
)

// section is the rules of one direction of one content of a policy. It holds
// rule ids and terms while a set holds it.
type section struct {
	id     uint64 // of no other content or direction
	policy *policy.Policy
	dir    policy.Direction
	// names are the named ports of ingress rules, which are looked up in each
	// subject. Sorted and distinct.
	names []portName

	sets  int // that hold it
	first RuleID
	rules []Rule
	grips []grip
}

// grip is what is to be released of a term.
type grip struct {
	term  *term
	names []portName
}

func newSection(id uint64, p *policy.Policy, dir policy.Direction) *section {
	s := &section{id: id, policy: p, dir: dir}
	if dir == policy.Ingress {
		for _, r := range p.Rules[dir] {
			s.names = append(s.names, ruleNames(r)...)
		}
		s.names = sortedNames(s.names)
	}
	return s
}

// hold gives the section ids and terms when the first set takes it, and
// reports whether this is the first.
func (s *section) hold(tt *termTable, lastRule *RuleID) bool {
	if s.sets++; s.sets > 1 {
		return false
	}
	rules := s.policy.Rules[s.dir]
	s.first = *lastRule + 1
	*lastRule += RuleID(len(rules))
	s.rules = make([]Rule, len(rules))
	for i, r := range rules {
		s.rules[i] = s.resolve(r, tt)
		s.rules[i].ID, s.rules[i].Policy = s.first+RuleID(i), s.policy
	}
	return true
}

// release returns whether no set holds the section any more.
func (s *section) release(tt *termTable) bool {
	if s.sets--; s.sets > 0 {
		return false
	}
	for _, g := range s.grips {
		for _, name := range g.names {
			tt.releaseName(g.term, name)
		}
		tt.release(g.term)
	}
	s.grips, s.rules = nil, nil
	return true
}

// resolve turns the peers of r to terms. A rule that can match nothing has none.
func (s *section) resolve(r policy.Rule, tt *termTable) Rule {
	rule := Rule{AnyPort: r.AnyPort}
	if !r.AnyPort {
		rule.Ports = slices.DeleteFunc(slices.Clone(r.Ports), func(p policy.Port) bool { return !matchable(p) })
		if len(rule.Ports) == 0 {
			return Rule{}
		}
	}
	rule.AnyPeer = r.AnyPeer
	var names []portName
	if s.dir == policy.Egress && !r.AnyPort {
		names = sortedNames(ruleNames(r))
	}
	if r.AnyPeer {
		for _, name := range names {
			rule.Terms = append(rule.Terms, s.take(newNameTerm(name), []portName{name}, tt))
		}
	} else {
		for _, p := range r.Peers {
			if t := newTerm(p, s.policy.Namespace); t != nil {
				rule.Terms = append(rule.Terms, s.take(t, names, tt))
			}
		}
	}
	slices.Sort(rule.Terms)
	rule.Terms = slices.Compact(rule.Terms)
	return rule
}

func (s *section) take(t *term, names []portName, tt *termTable) TermID {
	t = tt.acquire(t)
	for _, name := range names {
		tt.acquireName(t, name)
	}
	s.grips = append(s.grips, grip{t, names})
	return t.id
}

// matchable reports whether a packet or a pod can meet p: its protocol has
// ports, and numbers begin at 1, except for the whole protocol.
func matchable(p policy.Port) bool {
	switch p.Protocol {
	case policy.TCP, policy.UDP, policy.SCTP:
	default:
		return false
	}
	return p.Name != "" || p.First == 0 && p.Last == 65535 || p.First > 0 && p.First <= p.Last
}

func ruleNames(r policy.Rule) []portName {
	var names []portName
	for _, p := range r.Ports {
		if p.Name != "" && matchable(p) {
			names = append(names, portName{p.Name, p.Protocol})
		}
	}
	return names
}

func sortedNames(names []portName) []portName {
	slices.SortFunc(names, func(a, b portName) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol))
	})
	return slices.Compact(names)
}
