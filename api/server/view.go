// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// view is what a scope leaves of flows; nil: all of them.
func (s *scope) view() func(*flows.Flow) *flows.Flow {
	if s.all {
		return nil
	}
	return s.show
}

// show gives a flow that has an end in the scope. Of an end in another
// namespace only address and name are told, and policies of another namespace
// not at all: labels and rules are their owner's business.
func (s *scope) show(f *flows.Flow) *flows.Flow {
	if !s.seesPeer(&f.Source) && !s.seesPeer(&f.Destination) && (f.Service == nil || !s.seesPeer(f.Service)) {
		return nil
	}
	shown := *f
	shown.Source, shown.Destination = s.peer(f.Source), s.peer(f.Destination)
	if f.Service != nil {
		service := s.peer(*f.Service)
		shown.Service = &service
	}
	if decides := s.decider(f); !s.seesPeer(decides) {
		shown.Interface = ""
	}
	if f.Rule != nil && !s.sees(f.Rule.Policy.Namespace) {
		shown.Rule = nil
	}
	if f.Nearest != nil && !s.sees(f.Nearest.Rule.Policy.Namespace) {
		shown.Nearest = nil
	}
	if slices.ContainsFunc(f.Isolating, func(k policy.ObjectKey) bool { return !s.sees(k.Namespace) }) {
		shown.Isolating = kept(f.Isolating, func(k policy.ObjectKey) bool { return s.sees(k.Namespace) })
	}
	return &shown
}

// decider is the end whose policy decided, at whose interface the flow was seen.
func (s *scope) decider(f *flows.Flow) *flows.Peer {
	if f.Direction == policy.Egress {
		return &f.Source
	}
	return &f.Destination
}

func (s *scope) seesPeer(p *flows.Peer) bool {
	key, ok := p.Object()
	return ok && s.sees(key.Namespace)
}

func (s *scope) peer(p flows.Peer) flows.Peer {
	if p.Pod != nil && !s.sees(p.Pod.Namespace) {
		p.Pod = &policy.Pod{ObjectKey: p.Pod.ObjectKey}
	}
	return p
}

// explanation tells whether all that it speaks of is in the scope.
func (s *scope) explanation(e *Explanation) bool {
	foreign := func(p *flows.Peer) bool {
		key, ok := p.Object()
		return ok && !s.sees(key.Namespace)
	}
	if s.all {
		return true
	}
	return !foreign(&e.Source) && !foreign(&e.Destination) && !slices.ContainsFunc(e.Ends, func(end ExplainedEnd) bool {
		return !s.sees(end.Pod.Namespace) || end.Backend != nil && foreign(end.Backend)
	})
}

// status leaves out what names objects of other namespaces.
func (s *scope) status(out *weirv1.StatusResponse) {
	if s.all {
		return
	}
	for _, c := range out.GetConditions() {
		if c.GetMessage() != "" {
			c.Message = "told to viewers of all namespaces"
		}
	}
	out.Neighbours = nil
}

// namedNamespaces are those that the filters of a request name.
func namedNamespaces(req asks) []string {
	var names []string
	object := func(list []string) {
		for _, name := range list {
			if namespace, _, ok := strings.Cut(name, "/"); ok {
				names = append(names, namespace)
			}
		}
	}
	for _, f := range append([]*weirv1.FlowFilter{req.GetFilter()}, req.GetInclude()...) {
		names = append(names, f.GetNamespaces()...)
		object(f.GetPods())
		object(f.GetPolicies())
		for _, p := range []*weirv1.PeerFilter{f.GetSource(), f.GetDestination(), f.GetEither()} {
			names = append(names, p.GetNamespaces()...)
			object(p.GetPods())
			object(p.GetServices())
			object(p.GetWorkloads())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// kept is a list of its own: what a reader handed out may be everybody's.
func kept[T any](list []T, keep func(T) bool) []T {
	var out []T
	for _, v := range list {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out
}
