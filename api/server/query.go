// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// asks is what the requests for flows have in common.
type asks interface {
	GetFilter() *weirv1.FlowFilter
	GetInclude() []*weirv1.FlowFilter
	GetExclude() []*weirv1.FlowFilter
}

// compileFilter turns what a request asks for into a filter of what its caller
// may see.
func (s *flowService) compileFilter(req asks, sees *scope, since, until *timestamppb.Timestamp) (*flows.Filter, error) {
	r := &reader{}
	q := flows.Query{
		Filter: r.filter("filter", req.GetFilter()),
		Since:  r.time("since", since),
		Until:  r.time("until", until),
		Node:   s.node,
		View:   sees.view(),
	}
	for i, f := range req.GetInclude() {
		q.Include = append(q.Include, r.filter(fmt.Sprintf("include[%d]", i), f))
	}
	for i, f := range req.GetExclude() {
		q.Exclude = append(q.Exclude, r.filter(fmt.Sprintf("exclude[%d]", i), f))
	}
	filter, err := flows.Compile(q)
	if err := errors.Join(errors.Join(r.errs...), err); err != nil {
		return nil, invalid("%s", err)
	}
	return filter, nil
}

// reader collects what is wrong with a request; it refuses what Compile would
// not see any more.
type reader struct{ errs []error }

func (r *reader) time(field string, t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	if err := t.CheckValid(); err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: not a time: %w", field, err))
		return time.Time{}
	}
	return t.AsTime()
}

func (r *reader) filter(field string, f *weirv1.FlowFilter) flows.FilterSpec {
	spec := flows.FilterSpec{
		Pods:        f.GetPods(),
		Namespaces:  f.GetNamespaces(),
		IPs:         f.GetIps(),
		Ports:       f.GetPorts(),
		Protocols:   f.GetProtocols(),
		Verdicts:    enums(r, field+".verdicts", f.GetVerdicts(), verdictStruct),
		Policies:    f.GetPolicies(),
		Source:      r.peer(field+".source", f.GetSource()),
		Destination: r.peer(field+".destination", f.GetDestination()),
		Either:      r.peer(field+".either", f.GetEither()),
		Reasons:     enums(r, field+".reasons", f.GetReasons(), reasonStruct),
		Directions:  enums(r, field+".directions", f.GetDirections(), directionStruct),
		Kinds:       enums(r, field+".kinds", f.GetKinds(), kindStruct),
		Nodes:       f.GetNodes(),
		IDs:         f.GetIds(),
		Ends:        enums(r, field+".end_reasons", f.GetEndReasons(), endStruct),
		Interfaces:  f.GetInterfaces(),
	}
	if f != nil {
		spec.Reply = f.Reply //nolint:protogetter // absent is not false
	}
	for _, t := range f.GetTcpFlags() {
		spec.TCPFlags = append(spec.TCPFlags, flows.TCPFlagsSpec{Set: t.GetSet(), Unset: t.GetUnset()})
	}
	for i, rule := range f.GetRules() {
		spec.Rules = append(spec.Rules, r.rule(fmt.Sprintf("%s.rules[%d]", field, i), rule))
	}
	return spec
}

func (r *reader) rule(field string, rule *weirv1.RuleFilter) flows.RuleSpec {
	spec := flows.RuleSpec{Policy: rule.GetPolicy(), Index: rule.Index}
	if d := rule.GetDirection(); d != weirv1.Direction_DIRECTION_UNSPECIFIED {
		for _, direction := range enums(r, field+".direction", []weirv1.Direction{d}, directionStruct) {
			spec.Direction = &direction
		}
	}
	return spec
}

func (r *reader) peer(field string, f *weirv1.PeerFilter) flows.PeerSpec {
	return flows.PeerSpec{
		Pods:       f.GetPods(),
		Namespaces: f.GetNamespaces(),
		Labels:     f.GetLabels(),
		IPs:        f.GetIps(),
		Ports:      f.GetPorts(),
		Services:   f.GetServices(),
		Workloads:  f.GetWorkloads(),
		Identities: enums(r, field+".identities", f.GetIdentities(), identityStruct),
	}
}

// enums converts a list and names each value that is none.
func enums[P fmt.Stringer, S any](r *reader, field string, list []P, convert func(P) (S, bool)) []S {
	var out []S
	for i, p := range list {
		s, ok := convert(p)
		if !ok {
			r.errs = append(r.errs, fmt.Errorf("%s[%d]: %s is not a value that a flow can have", field, i, p))
			continue
		}
		out = append(out, s)
	}
	return out
}

// Each of these reports false for a number that has no meaning, the proto's own
// zero among them.

func reasonStruct(v weirv1.Reason) (flows.Reason, bool) {
	return flows.Reason(v), known(v, weirv1.Reason_name)
}

func kindStruct(v weirv1.FlowKind) (flows.Kind, bool) {
	return flows.Kind(v), v != 0 && known(v, weirv1.FlowKind_name)
}

func endStruct(v weirv1.EndReason) (flows.EndReason, bool) {
	return flows.EndReason(v), v != 0 && known(v, weirv1.EndReason_name)
}

func directionStruct(v weirv1.Direction) (policy.Direction, bool) {
	for _, d := range policy.Directions {
		if directionProto(d) == v {
			return d, true
		}
	}
	return 0, false
}

func identityStruct(v weirv1.Identity) (flows.Identity, bool) {
	for _, i := range [...]flows.Identity{flows.World, flows.PodIdentity, flows.NodeIdentity, flows.ServiceIdentity} {
		if identityProto(i) == v {
			return i, true
		}
	}
	return flows.World, false
}

func known[E ~int32](v E, names map[int32]string) bool {
	_, ok := names[int32(v)]
	return ok
}
