// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"math"
	"slices"
)

// Outcome says what one rule made of one flow.
type Outcome struct {
	Rule RuleRef
	// Matched: the rule allows the flow, since both halves match.
	Matched     bool
	PeerMatched bool
	PortMatched bool
	// Distance from the flow's port to the nearest that the rule allows: 0 if
	// PortMatched, more than 65,535 for those of another protocol.
	Distance int
	// Why is a short text for people: what missed ("port 443 is not 5432"),
	// or the rule itself if it matched.
	Why string
}

// Distances beyond those of numbers within one protocol.
const (
	otherProtocol = math.MaxUint16 + 1
	nowhere       = 2 * otherProtocol
)

// Outcomes gives every rule of every policy that isolates the flow's subject in
// the flow's direction, ordered by RuleRef.Compare. It agrees with Evaluate: a
// rule is Matched if and only if Evaluate gives it as Rule or among Others,
// except that Evaluate asks no rule about the pod itself and its own node.
func Outcomes(c *Cluster, f Flow) []Outcome {
	return OutcomesOf(c.Policies, f, c.Pods, c.namespace)
}

// OutcomesOf is Outcomes for a caller that keeps an index: of policies, only
// those that isolate the subject are asked, and of peers, only those that hold
// the peer's address; it is enough to give those. namespaces finds a namespace
// by name, and must not be nil. Its cost grows with the rules and blocks of
// these policies alone.
func OutcomesOf(policies []*Policy, f Flow, peers []*Pod, namespaces func(string) (Namespace, bool)) []Outcome {
	if f.Subject == nil || int(f.Direction) >= len(Directions) {
		return nil
	}
	s := newScene(f, peers, namespaces)
	var out []Outcome
	s.each(policies, func(p *Policy, r Rule, o Outcome) {
		o.Why = s.why(p, r, o)
		out = append(out, o)
	})
	slices.SortFunc(out, func(a, b Outcome) int { return a.Rule.Compare(b.Rule) })
	return out
}

// each calls visit with the outcome of every rule that applies, without Why.
func (s scene) each(policies []*Policy, visit func(*Policy, Rule, Outcome)) {
	d := s.flow.Direction
	for _, p := range policies {
		if !p.isolates(s.flow.Subject, d) {
			continue
		}
		for i, r := range p.Rules[d] {
			o := Outcome{Rule: RuleRef{Policy: p.ObjectKey, Direction: d, Index: i}}
			o.PeerMatched, o.PortMatched = s.peerAllowed(p, r), s.portAllowed(r)
			o.Matched = o.PeerMatched && o.PortMatched
			if !o.PortMatched {
				o.Distance = s.distance(r.Ports)
			}
			visit(p, r, o)
		}
	}
}

func (s scene) why(p *Policy, r Rule, o Outcome) string {
	switch {
	case o.Matched:
		return RuleText(r)
	case o.PeerMatched:
		return s.whyNotPort(r)
	case o.PortMatched:
		return s.whyNotPeer(p, r)
	}
	return s.whyNotPeer(p, r) + "; " + s.whyNotPort(r)
}

// Nearest is the outcome that came closest to matching: one whose peer matched
// before one whose port matched before one that missed both, then the smaller
// distance of ports, then the order of RuleRef.Compare. False: every outcome
// matched, or there is none.
func Nearest(outcomes []Outcome) (Outcome, bool) {
	var best Outcome
	found := false
	for _, o := range outcomes {
		if o.nearer(best, found) {
			best, found = o, true
		}
	}
	return best, found
}

// NearestOf is Nearest of OutcomesOf for a caller that needs no more of it, as
// for each denied event: it writes the text of one rule only.
func NearestOf(policies []*Policy, f Flow, peers []*Pod, namespaces func(string) (Namespace, bool)) (Outcome, bool) {
	if f.Subject == nil || int(f.Direction) >= len(Directions) {
		return Outcome{}, false
	}
	s := newScene(f, peers, namespaces)
	var best Outcome
	var of *Policy
	s.each(policies, func(p *Policy, _ Rule, o Outcome) {
		if o.nearer(best, of != nil) {
			best, of = o, p
		}
	})
	if of == nil {
		return Outcome{}, false
	}
	best.Why = s.why(of, of.Rules[f.Direction][best.Rule.Index], best)
	return best, true
}

// nearer reports whether o, a miss, comes before best, if there is one yet.
func (o Outcome) nearer(best Outcome, found bool) bool {
	return !o.Matched && (!found || compareMisses(o, best) < 0)
}

func compareMisses(a, b Outcome) int {
	return cmp.Or(
		cmp.Compare(a.missRank(), b.missRank()),
		cmp.Compare(a.Distance, b.Distance),
		a.Rule.Compare(b.Rule),
	)
}

func (o Outcome) missRank() int {
	switch {
	case o.PeerMatched:
		return 0
	case o.PortMatched:
		return 1
	}
	return 2
}

// distance of the flow's port from the nearest of ports.
func (s scene) distance(ports []Port) int {
	best := nowhere
	if !s.flow.Protocol.hasPorts() {
		return best
	}
	for _, p := range ports {
		best = min(best, s.distanceTo(p))
	}
	return best
}

func (s scene) distanceTo(p Port) int {
	best := nowhere
	if p.Name == "" {
		best = away(s.flow.Port, p.First, p.Last)
	}
	for _, n := range s.numbersOf(p) {
		best = min(best, away(s.flow.Port, n, n))
	}
	if best < nowhere && p.Protocol != s.flow.Protocol {
		best += otherProtocol
	}
	return best
}

func away(port, first, last uint16) int {
	switch {
	case port < first:
		return int(first) - int(port)
	case port > last:
		return int(port) - int(last)
	}
	return 0
}

// numbersOf resolves a named port: the numbers that every destination gives
// it. A port without a name has none.
func (s scene) numbersOf(p Port) []uint16 {
	pods := s.destinations()
	if p.Name == "" || len(pods) == 0 {
		return nil
	}
	var out []uint16
	for _, candidate := range pods[0].Ports {
		if candidate.Name != p.Name || candidate.Protocol != p.Protocol {
			continue
		}
		lacks := func(pod *Pod) bool { return !slices.Contains(pod.Ports, candidate) }
		if !slices.ContainsFunc(pods, lacks) {
			out = append(out, candidate.Number)
		}
	}
	return out
}
