// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weirnet/weir/policy"
)

// Query is what a reader asks for. A flow passes if it passes Filter, one of
// Include (where there are any) and none of Exclude.
type Query struct {
	Filter  FilterSpec
	Include []FilterSpec
	Exclude []FilterSpec
	Since   time.Time // not before; zero: any time
	Until   time.Time // not at or after; zero: any time
	Node    string    // of the agent that keeps the flows; FilterSpec.Nodes asks for it
	// View gives a flow as the reader may see it, nil: not at all. Filters are
	// asked about what it gives: one about what the reader may not see would
	// else tell it, a bit at a time. Nil: the reader may see everything. A View
	// must not change the flow.
	View func(*Flow) *Flow
}

// FilterSpec is a filter as a reader writes it. Lists that are set must all
// match; a list matches if any of its values does. The address of a Service
// before translation counts as a destination.
type FilterSpec struct {
	Pods       []string // "namespace/name" or "name", at any end
	Namespaces []string // of a pod or Service at any end
	IPs        []string // address or CIDR, at any end
	Ports      []uint32 // at any end
	Protocols  []uint32 // IANA numbers; 0: no IP packet (ARP and the like)
	Verdicts   []Verdict
	Policies   []string // "namespace/name" or "name", deciding or isolating

	Source, Destination, Either PeerSpec

	Reasons    []Reason
	TCPFlags   []TCPFlagsSpec
	Directions []policy.Direction
	Reply      *bool
	Rules      []RuleSpec
	Kinds      []Kind
	Nodes      []string
	IDs        []uint64
	Ends       []EndReason
	Interfaces []string
}

// TCPFlagsSpec wants all flags of Set and none of Unset; bits as in the header.
type TCPFlagsSpec struct{ Set, Unset uint32 }

// RuleSpec names rules of policies; nil: any.
type RuleSpec struct {
	Policy    string // "namespace/name" or "name"
	Direction *policy.Direction
	Index     *uint32
}

// Filter is a compiled Query. The nil Filter lets every flow through. It is
// immutable.
type Filter struct {
	view    func(*Flow) *Flow // nil: as it is
	all     clause
	include []clause
	exclude []clause
}

// clause is a compiled FilterSpec: every test of it must pass.
type clause []func(*Flow) bool

func (c clause) matches(f *Flow) bool {
	for _, test := range c {
		if !test(f) {
			return false
		}
	}
	return true
}

// Compile returns an error that names each field with a value that cannot
// match anything, and what is accepted there. A query without any value gives
// the nil Filter. An empty Include or Exclude is refused: it would pass or
// refuse everything, which nobody means.
func Compile(q Query) (*Filter, error) {
	c := &compiler{node: q.Node}
	f := &Filter{view: q.View}
	f.all = c.clause("filter", q.Filter)
	for i, spec := range q.Include {
		f.include = append(f.include, c.oneOf("include", i, spec))
	}
	for i, spec := range q.Exclude {
		f.exclude = append(f.exclude, c.oneOf("exclude", i, spec))
	}
	if !q.Since.IsZero() {
		f.all = append(f.all, func(f *Flow) bool { return !f.Time.Before(q.Since) })
	}
	if !q.Until.IsZero() {
		f.all = append(f.all, func(f *Flow) bool { return f.Time.Before(q.Until) })
		if !q.Since.IsZero() && !q.Since.Before(q.Until) {
			c.errs = append(c.errs, fmt.Errorf("until: %s is not after since, %s", stamp(q.Until), stamp(q.Since)))
		}
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	if len(f.all)+len(f.include)+len(f.exclude) == 0 && f.view == nil {
		return nil, nil
	}
	return f, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Matches reports whether a flow passes the filter.
func (f *Filter) Matches(flow *Flow) bool {
	return f.Show(flow) != nil
}

// Show gives the flow as the reader of the filter may see it, if that passes;
// else nil.
func (f *Filter) Show(flow *Flow) *Flow {
	if f == nil {
		return flow
	}
	if f.view != nil {
		if flow = f.view(flow); flow == nil {
			return nil
		}
	}
	if !f.passes(flow) {
		return nil
	}
	return flow
}

func (f *Filter) passes(flow *Flow) bool {
	passes := func(c clause) bool { return c.matches(flow) }
	return f.all.matches(flow) &&
		(len(f.include) == 0 || slices.ContainsFunc(f.include, passes)) &&
		!slices.ContainsFunc(f.exclude, passes)
}

// compiler collects what is wrong with a query.
type compiler struct {
	node string
	errs []error
}

func (c *compiler) bad(field string, i int, value any, accepted string) {
	c.errs = append(c.errs, fmt.Errorf("%s[%d]: %#v is not %s", field, i, value, accepted))
}

func (c *compiler) oneOf(list string, i int, spec FilterSpec) clause {
	field := fmt.Sprintf("%s[%d]", list, i)
	before := len(c.errs)
	compiled := c.clause(field, spec)
	if len(compiled) == 0 && len(c.errs) == before {
		c.errs = append(c.errs, fmt.Errorf("%s: says nothing; set a field or leave it away", field))
	}
	return compiled
}

func (c *compiler) clause(field string, s FilterSpec) clause {
	var out clause
	ends := func(field string, spec PeerSpec, at func(*Flow, func(*Peer) bool) bool) {
		if tests := c.peer(field, spec); len(tests) > 0 {
			out = append(out, func(f *Flow) bool { return at(f, tests.matches) })
		}
	}
	// Each of these may match at another end.
	ends(field, PeerSpec{Pods: s.Pods}, eitherEnd)
	ends(field, PeerSpec{Namespaces: s.Namespaces}, eitherEnd)
	ends(field, PeerSpec{IPs: s.IPs}, eitherEnd)
	ends(field, PeerSpec{Ports: s.Ports}, eitherEnd)
	ends(field+".source", s.Source, func(f *Flow, matches func(*Peer) bool) bool { return matches(&f.Source) })
	ends(field+".destination", s.Destination, destinations)
	ends(field+".either", s.Either, eitherEnd)
	out = append(out, c.judgement(field, s)...)
	out = append(out, c.packet(field, s)...)
	return append(out, c.record(field, s)...)
}

func eitherEnd(flow *Flow, matches func(*Peer) bool) bool {
	return matches(&flow.Source) || destinations(flow, matches)
}

func destinations(flow *Flow, matches func(*Peer) bool) bool {
	return matches(&flow.Destination) || flow.Service != nil && matches(flow.Service)
}

// judgement: what became of the flow, and why.
func (c *compiler) judgement(field string, s FilterSpec) clause {
	var out clause
	for i, v := range s.Verdicts {
		if v > Audited {
			c.errs = append(c.errs, fmt.Errorf("%s.verdicts[%d]: %d is not a verdict (denied, allowed or audited)", field, i, v))
		}
	}
	out = among(out, s.Verdicts, func(f *Flow) Verdict { return f.Verdict })
	out = among(out, s.Reasons, func(f *Flow) Reason { return f.Reason })
	out = among(out, s.Directions, func(f *Flow) policy.Direction { return f.Direction })
	if names := c.objectNames(field+".policies", s.Policies); len(names) > 0 {
		out = append(out, func(f *Flow) bool { return byPolicy(f, names) })
	}
	if rules := c.rules(field, s.Rules); len(rules) > 0 {
		out = append(out, func(f *Flow) bool {
			return f.Rule != nil && slices.ContainsFunc(rules, func(matches func(*policy.RuleRef) bool) bool { return matches(f.Rule) })
		})
	}
	return out
}

func byPolicy(f *Flow, names []objectName) bool {
	for _, n := range names {
		if f.Rule != nil && n.matches(f.Rule.Policy) || slices.ContainsFunc(f.Isolating, n.matches) {
			return true
		}
	}
	return false
}

func (c *compiler) rules(field string, specs []RuleSpec) (out []func(*policy.RuleRef) bool) {
	for i, s := range specs {
		names := c.objectNames(fmt.Sprintf("%s.rules[%d].policy", field, i), []string{s.Policy})
		if len(names) == 0 {
			continue
		}
		out = append(out, func(r *policy.RuleRef) bool {
			return names[0].matches(r.Policy) &&
				(s.Direction == nil || *s.Direction == r.Direction) && (s.Index == nil || int(*s.Index) == r.Index)
		})
	}
	return out
}

// packet: what the packets look like.
func (c *compiler) packet(field string, s FilterSpec) clause {
	var out clause
	var protocols []policy.Protocol
	for i, n := range s.Protocols {
		if n > math.MaxUint8 {
			c.errs = append(c.errs, fmt.Errorf("%s.protocols[%d]: %d is not an IANA protocol number (0 to 255, e.g. 6 for TCP)", field, i, n))
		}
		protocols = append(protocols, policy.Protocol(n))
	}
	out = among(out, protocols, func(f *Flow) policy.Protocol { return f.Protocol })
	for i, t := range s.TCPFlags {
		if t.Set|t.Unset > math.MaxUint8 || t.Set|t.Unset == 0 || t.Set&t.Unset != 0 {
			c.errs = append(c.errs, fmt.Errorf("%s.tcp_flags[%d]: set %#x and unset %#x can match nothing; they are distinct bits of the header's flags (FIN 1 to CWR 128)", field, i, t.Set, t.Unset))
		}
	}
	if flags := slices.Clone(s.TCPFlags); len(flags) > 0 {
		out = append(out, func(f *Flow) bool {
			return f.Protocol == policy.TCP && slices.ContainsFunc(flags, func(t TCPFlagsSpec) bool {
				return uint32(f.TCPFlags)&t.Set == t.Set && uint32(f.TCPFlags)&t.Unset == 0
			})
		})
	}
	if s.Reply != nil {
		reply := *s.Reply
		out = append(out, func(f *Flow) bool { return f.Reply == reply })
	}
	return out
}

// record: what is told, and by whom.
func (c *compiler) record(field string, s FilterSpec) clause {
	var out clause
	out = among(out, s.Kinds, func(f *Flow) Kind { return f.Kind })
	out = among(out, s.IDs, func(f *Flow) uint64 { return f.ID })
	out = among(out, s.Ends, func(f *Flow) EndReason { return f.End() })
	out = among(out, s.Interfaces, func(f *Flow) string { return f.Interface })
	for i, id := range s.IDs {
		if id == 0 {
			c.bad(field+".ids", i, id, "the id of a flow; denials have none")
		}
	}
	for i, name := range s.Nodes {
		if name == "" {
			c.bad(field+".nodes", i, name, "the name of a node")
		}
	}
	if len(s.Nodes) > 0 {
		here := slices.Contains(s.Nodes, c.node)
		out = append(out, func(*Flow) bool { return here })
	}
	return out
}

// among adds a test that a value of the flow is one of a list, if there is one.
func among[T comparable](to clause, list []T, value func(*Flow) T) clause {
	if len(list) == 0 {
		return to
	}
	list = slices.Clone(list)
	return append(to, func(f *Flow) bool { return slices.Contains(list, value(f)) })
}
