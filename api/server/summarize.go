// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

const (
	defaultTop = 100
	maxTop     = 10000
)

// Summarize implements weirv1.FlowsServer.
func (s *flowService) Summarize(ctx context.Context, req *weirv1.SummarizeRequest) (*weirv1.SummarizeResponse, error) {
	scope, err := scopeOf(ctx, namedNamespaces(req)...)
	if err != nil {
		return nil, err
	}
	filter, err := s.compileFilter(req, scope, req.GetSince(), req.GetUntil())
	if err != nil {
		return nil, err
	}
	top := int(req.GetTop())
	if top == 0 {
		top = defaultTop
	}
	if top > maxTop {
		return nil, invalid("top: %d is above %d", top, maxTop)
	}
	if !known(req.GetOrder(), weirv1.SummaryOrder_name) {
		return nil, invalid("order: %s is no order of groups", req.GetOrder())
	}
	by, err := summaryKeys(req.GetBy())
	if err != nil {
		return nil, err
	}
	sum := s.store.Summarize(filter, by, flows.SummaryOrder(req.GetOrder()), top)
	out := &weirv1.SummarizeResponse{
		Groups:     each(sum.Groups, func(g flows.Group) *weirv1.SummaryGroup { return groupProto(&g, by) }),
		Total:      countsProto(sum.Total),
		GroupCount: uint32(sum.Count),
		Missed:     sum.Missed,
	}
	if !sum.Oldest.IsZero() {
		out.Oldest = timestamppb.New(sum.Oldest)
	}
	return out, nil
}

// summaryKeys: the numbers of both enums are the same (a test compares). One
// end has one name, so two keys of it contradict each other.
func summaryKeys(list []weirv1.SummaryKey) ([]flows.SummaryKey, error) {
	var by []flows.SummaryKey
	ends := map[string]weirv1.SummaryKey{}
	for i, key := range list {
		if key == weirv1.SummaryKey_SUMMARY_KEY_UNSPECIFIED || !known(key, weirv1.SummaryKey_name) {
			return nil, invalid("by[%d]: %s is no key", i, key)
		}
		for _, end := range []string{"SOURCE", "DESTINATION"} {
			if !strings.HasPrefix(key.String(), "SUMMARY_KEY_"+end) {
				continue
			}
			if other, twice := ends[end]; twice && other != key {
				return nil, invalid("by[%d]: %s beside %s; one end is named in one way", i, key, other)
			}
			ends[end] = key
		}
		by = append(by, flows.SummaryKey(key))
	}
	return by, nil
}

func groupProto(g *flows.Group, by []flows.SummaryKey) *weirv1.SummaryGroup {
	out := &weirv1.SummaryGroup{
		Source: endNameProto(g.Source), Destination: endNameProto(g.Destination),
		Protocol: uint32(g.Protocol), Port: uint32(g.Port),
		Counts: countsProto(g.Counts),
	}
	if g.Nearest != nil {
		out.NearestMiss = missProto(g.Nearest)
	}
	// The zeroes of these have a meaning.
	if slices.Contains(by, flows.ByVerdict) {
		out.Verdict = verdictProto(g.Verdict)
	}
	if slices.Contains(by, flows.ByReason) {
		out.Reason = reasonProto(g.Reason)
	}
	if slices.Contains(by, flows.ByDirection) {
		out.Direction = directionProto(g.Direction)
	}
	if g.Rule != (policy.RuleRef{}) {
		out.Rule = ruleProto(&g.Rule)
	}
	for name := range strings.SplitSeq(g.Policies, ",") {
		if namespace, name, ok := strings.Cut(name, "/"); ok {
			out.Policies = append(out.Policies, &weirv1.PolicyRef{Namespace: namespace, Name: name})
		}
	}
	return out
}

func endNameProto(n flows.EndName) *weirv1.Peer {
	if n == (flows.EndName{}) {
		return nil
	}
	p := &weirv1.Peer{Ip: addrText(n.Addr), Identity: identityProto(n.Identity), Namespace: n.Namespace, Name: n.Name}
	if n.Kind != "" {
		p.Name, p.Workload = "", &weirv1.Workload{Kind: n.Kind, Name: n.Name}
	}
	return p
}

func countsProto(c flows.Counts) *weirv1.SummaryCounts {
	out := &weirv1.SummaryCounts{
		Flows: c.Flows, Denials: c.Denials,
		Sent: trafficProto(c.Sent), Answered: trafficProto(c.Answered),
	}
	if !c.First.IsZero() {
		out.First, out.Last = timestamppb.New(c.First), timestamppb.New(c.Last)
	}
	return out
}
