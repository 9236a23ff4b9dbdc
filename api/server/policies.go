// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/policy"
)

type policyService struct {
	weirv1.UnimplementedPoliciesServer
	policies  PolicyReader
	explainer Explainer
}

// List implements weirv1.PoliciesServer; by namespace and name.
func (s *policyService) List(ctx context.Context, req *weirv1.ListPoliciesRequest) (*weirv1.ListPoliciesResponse, error) {
	scope, err := scopeOf(ctx, req.GetNamespace())
	if err != nil {
		return nil, err
	}
	states, err := s.policies.Policies(ctx, req.GetNamespace())
	if err != nil {
		return nil, err
	}
	states = kept(states, func(p PolicyState) bool { return scope.sees(p.Key.Namespace) })
	states = slices.SortedFunc(slices.Values(states), func(a, b PolicyState) int {
		return a.Key.Compare(b.Key)
	})
	return &weirv1.ListPoliciesResponse{Policies: each(states, policyProto)}, nil
}

// Get implements weirv1.PoliciesServer.
func (s *policyService) Get(ctx context.Context, req *weirv1.GetPolicyRequest) (*weirv1.GetPolicyResponse, error) {
	key := policy.ObjectKey{Namespace: req.GetNamespace(), Name: req.GetName()}
	if key.Namespace == "" || key.Name == "" {
		return nil, invalid("a policy is named by namespace and name, not %q and %q", key.Namespace, key.Name)
	}
	scope, err := scopeOf(ctx, key.Namespace)
	if err != nil {
		return nil, err
	}
	if !scope.sees(key.Namespace) {
		return nil, scope.refuse("policy " + key.String())
	}
	state, err := s.policies.Policy(ctx, key)
	if err != nil {
		return nil, err
	}
	return &weirv1.GetPolicyResponse{Policy: policyProto(state)}, nil
}

// Stats implements weirv1.PoliciesServer.
func (s *policyService) Stats(ctx context.Context, req *weirv1.StatsRequest) (*weirv1.StatsResponse, error) {
	if req.GetName() != "" && req.GetNamespace() == "" {
		return nil, invalid("name: %q needs a namespace beside it", req.GetName())
	}
	scope, err := scopeOf(ctx, req.GetNamespace())
	if err != nil {
		return nil, err
	}
	if namespace := req.GetNamespace(); namespace != "" && !scope.sees(namespace) {
		return nil, scope.refuse("namespace " + namespace)
	}
	stats, err := s.policies.Stats(ctx, req.GetNamespace(), req.GetName())
	if err != nil || stats.Since.IsZero() {
		return &weirv1.StatsResponse{}, err
	}
	stats.Policies = kept(stats.Policies, func(p PolicyStats) bool { return scope.sees(p.Key.Namespace) })
	list := slices.SortedFunc(slices.Values(stats.Policies), func(a, b PolicyStats) int { return a.Key.Compare(b.Key) })
	return &weirv1.StatsResponse{
		Enabled:  true,
		Since:    timestamppb.New(stats.Since),
		Policies: each(list, policyStatsProto),
	}, nil
}

func policyStatsProto(p PolicyStats) *weirv1.PolicyStats {
	return &weirv1.PolicyStats{
		Ref: refProto(p.Key), Denials: p.Denials,
		Rules: each(p.Rules, func(r RuleStats) *weirv1.RuleStats {
			return &weirv1.RuleStats{Ref: ruleProto(&r.Ref), Flows: r.Flows, Packets: r.Packets, Bytes: r.Bytes}
		}),
	}
}

// Explain implements weirv1.PoliciesServer.
func (s *policyService) Explain(ctx context.Context, req *weirv1.ExplainRequest) (*weirv1.ExplainResponse, error) {
	q, err := question(req)
	if err != nil {
		return nil, err
	}
	scope, err := scopeOf(ctx, q.Source.Pod.Namespace, q.Destination.Pod.Namespace)
	if err != nil {
		return nil, err
	}
	// Before the answer: that a pod is not there is an answer as well.
	for _, end := range []End{q.Source, q.Destination} {
		if namespace := end.Pod.Namespace; namespace != "" && !scope.sees(namespace) {
			return nil, scope.refuse("pod " + end.Pod.String())
		}
	}
	answer, err := s.explainer.Explain(ctx, q)
	if err != nil {
		return nil, err
	}
	if !scope.explanation(&answer) {
		return nil, scope.refuse("policies of another namespace decide about this flow")
	}
	return explanationProto(answer), nil
}

func question(req *weirv1.ExplainRequest) (q Question, err error) {
	if q.Source, err = end("source", req.GetSource()); err != nil {
		return q, err
	}
	if q.Destination, err = end("destination", req.GetDestination()); err != nil {
		return q, err
	}
	if n := req.GetProtocol(); n == 0 || n > math.MaxUint8 {
		return q, invalid("protocol: %d is not an IANA protocol number of 1 to 255, e.g. 6 for TCP", n)
	}
	if n := req.GetPort(); n > math.MaxUint16 {
		return q, invalid("port: %d is not a port (0 to 65535)", n)
	}
	q.Protocol, q.Port = policy.Protocol(req.GetProtocol()), uint16(req.GetPort())
	return q, nil
}

// end reads "namespace/name" or an address.
func end(field, text string) (End, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return End{Addr: addr.Unmap()}, nil
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return End{}, invalid("%s: %q is a block; a flow has one address at each end", field, text)
	}
	namespace, name, both := strings.Cut(text, "/")
	if !both || namespace == "" || name == "" || strings.Contains(name, "/") {
		return End{}, invalid(`%s: %q is not "namespace/name" of a pod, nor an address`, field, text)
	}
	return End{Pod: policy.ObjectKey{Namespace: namespace, Name: name}}, nil
}
