// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/netip"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// verdictProto: the zero of the proto is "not told", the zero of the data path
// is "denied", so the numbers differ. An unknown verdict denies.
func verdictProto(v flows.Verdict) weirv1.Verdict {
	switch v {
	case flows.Allowed:
		return weirv1.Verdict_VERDICT_ALLOWED
	case flows.Audited:
		return weirv1.Verdict_VERDICT_AUDITED
	}
	return weirv1.Verdict_VERDICT_DENIED
}

// verdictStruct reports false for a number that is no verdict.
func verdictStruct(v weirv1.Verdict) (flows.Verdict, bool) {
	switch v {
	case weirv1.Verdict_VERDICT_DENIED:
		return flows.Denied, true
	case weirv1.Verdict_VERDICT_ALLOWED:
		return flows.Allowed, true
	case weirv1.Verdict_VERDICT_AUDITED:
		return flows.Audited, true
	}
	return flows.Denied, false
}

func directionProto(d policy.Direction) weirv1.Direction {
	switch d {
	case policy.Ingress:
		return weirv1.Direction_DIRECTION_INGRESS
	case policy.Egress:
		return weirv1.Direction_DIRECTION_EGRESS
	}
	return weirv1.Direction_DIRECTION_UNSPECIFIED
}

// The numbers of these are the same (a test compares).
func reasonProto(r flows.Reason) weirv1.Reason          { return weirv1.Reason(r) }
func kindProto(k flows.Kind) weirv1.FlowKind            { return weirv1.FlowKind(k) }
func endReasonProto(e flows.EndReason) weirv1.EndReason { return weirv1.EndReason(e) }

func identityProto(i flows.Identity) weirv1.Identity {
	switch i {
	case flows.PodIdentity:
		return weirv1.Identity_IDENTITY_POD
	case flows.NodeIdentity:
		return weirv1.Identity_IDENTITY_NODE
	case flows.ServiceIdentity:
		return weirv1.Identity_IDENTITY_SERVICE
	}
	return weirv1.Identity_IDENTITY_WORLD
}

// flowProto shares labels with the pod that the flow points to; both are
// immutable.
func flowProto(f *flows.Flow, node string) *weirv1.Flow {
	p := &weirv1.Flow{
		Time:        timestamppb.New(f.Time),
		Node:        node,
		Kind:        kindProto(f.Kind),
		Verdict:     verdictProto(f.Verdict),
		Reason:      reasonProto(f.Reason),
		Direction:   directionProto(f.Direction),
		Protocol:    uint32(f.Protocol),
		Source:      peerProto(&f.Source),
		Destination: peerProto(&f.Destination),
		Rule:        ruleProto(f.Rule),
		Isolating:   refsProto(f.Isolating),
		TcpFlags:    uint32(f.TCPFlags),
		IcmpType:    uint32(f.ICMPType),
		IcmpCode:    uint32(f.ICMPCode),
		EtherType:   uint32(f.EtherType),
		Length:      f.Length,
		Repeats:     f.Repeats,
		Reply:       f.Reply,
		Sequence:    f.Sequence,
		Interface:   plain(f.Interface),
		Id:          f.ID,
		EndReason:   endReasonProto(f.End()),
		Sample:      f.Sample,
	}
	if f.Service != nil {
		p.Service = peerProto(f.Service)
	}
	if f.Nearest != nil {
		p.NearestMiss = missProto(f.Nearest)
	}
	switch {
	case f.Totals != nil:
		p.Start, p.Duration = timestamppb.New(f.Totals.Start), durationpb.New(f.Totals.Duration)
		p.Sent, p.Answered = trafficProto(f.Totals.Sent), trafficProto(f.Totals.Answered)
	case f.Kind == flows.New && f.ID != 0:
		p.Start = p.Time
	}
	return p
}

func missProto(m *flows.Miss) *weirv1.NearestMiss {
	return &weirv1.NearestMiss{Rule: ruleProto(&m.Rule), Why: plain(m.Why)}
}

func trafficProto(t flows.Traffic) *weirv1.Traffic {
	return &weirv1.Traffic{Packets: t.Packets, Bytes: t.Bytes, TcpFlags: uint32(t.TCPFlags)}
}

// peerProto of an end without an address (a packet that is not IP) and without
// a pod is nobody, not the world.
func peerProto(p *flows.Peer) *weirv1.Peer {
	if !p.Addr.IsValid() && p.Pod == nil {
		return &weirv1.Peer{}
	}
	out := &weirv1.Peer{Port: uint32(p.Port), Identity: identityProto(p.Identity), Ip: addrText(p.Addr)}
	if key, ok := p.Object(); ok {
		out.Namespace, out.Name = key.Namespace, key.Name
	}
	if p.Pod != nil {
		out.Labels = p.Pod.Labels
		if w := p.Pod.Workload; w.Name != "" {
			out.Workload = &weirv1.Workload{Kind: w.Kind, Name: w.Name}
		}
	}
	return out
}

// addrText of no address is empty, not "invalid IP".
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func ruleProto(r *policy.RuleRef) *weirv1.RuleRef {
	if r == nil {
		return nil
	}
	return &weirv1.RuleRef{Policy: refProto(r.Policy), Direction: directionProto(r.Direction), Index: uint32(r.Index)}
}

func refProto(k policy.ObjectKey) *weirv1.PolicyRef {
	return &weirv1.PolicyRef{Namespace: k.Namespace, Name: k.Name}
}

func refsProto(keys []policy.ObjectKey) []*weirv1.PolicyRef {
	return each(keys, refProto)
}

func policyProto(s PolicyState) *weirv1.Policy {
	return &weirv1.Policy{
		Ref:             refProto(s.Key),
		Uid:             s.UID,
		Subjects:        plain(s.Subjects),
		IsolatesIngress: s.Isolates[policy.Ingress],
		IsolatesEgress:  s.Isolates[policy.Egress],
		Rules: each(s.Rules, func(r RuleState) *weirv1.Rule {
			return &weirv1.Rule{Ref: ruleProto(&r.Ref), Text: plain(r.Text), Problems: each(r.Problems, plain)}
		}),
		Pods:     each(s.Pods, policy.ObjectKey.String),
		Problems: each(s.Problems, plain),

		ObjectGeneration: s.Generation,
		InForce:          s.InForce,
		PodsByState:      s.PodStates,
	}
}

// plain makes a text of the node or of a manifest fit for a proto: a name of an
// interface may hold any byte, and one that is not UTF-8 would fail the whole
// answer.
func plain(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func explanationProto(e Explanation) *weirv1.ExplainResponse {
	return &weirv1.ExplainResponse{
		Verdict:     verdictProto(e.Verdict),
		Source:      peerProto(&e.Source),
		Destination: peerProto(&e.Destination),
		Ends:        each(e.Ends, endProto),
	}
}

func endProto(e ExplainedEnd) *weirv1.ExplainEnd {
	p := &weirv1.ExplainEnd{Direction: directionProto(e.Direction), Pod: e.Pod.String(), Here: e.Here}
	if e.Backend != nil {
		p.Backend = peerProto(e.Backend)
	}
	if !e.Here {
		return p
	}
	p.Verdict = verdictProto(e.Verdict)
	p.Reason = reasonProto(e.Reason)
	p.Rule = ruleProto(e.Rule)
	p.Isolating = refsProto(e.Isolating)
	p.Outcomes = each(e.Outcomes, func(o Outcome) *weirv1.RuleOutcome {
		return &weirv1.RuleOutcome{Rule: ruleProto(&o.Rule), Matched: o.Matched, Why: plain(o.Why)}
	})
	if e.Live != nil {
		p.MapVerdict = verdictProto(e.Live.Verdict)
		p.MapRule = ruleProto(e.Live.Rule)
		p.Agrees = e.Live.Verdict == e.Verdict && sameRule(e.Live.Rule, e.Rule)
	}
	return p
}

func sameRule(a, b *policy.RuleRef) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func statusProto(s Status) *weirv1.StatusResponse {
	p := &weirv1.StatusResponse{
		Version: s.Version,
		Node:    s.Node,
		Ready:   s.Ready,
		Conditions: each(s.Conditions, func(c Condition) *weirv1.Condition {
			return &weirv1.Condition{Name: c.Name, Ok: c.OK, Message: plain(c.Message)}
		}),
		Kernel: s.Kernel,
		Features: each(s.Features, func(f Feature) *weirv1.Feature {
			return &weirv1.Feature{Name: f.Name, InUse: f.InUse, Why: plain(f.Why)}
		}),
		EndpointsByState: s.Endpoints,
		Maps: each(s.Maps, func(m MapUse) *weirv1.MapUse {
			return &weirv1.MapUse{Name: m.Name, Entries: m.Entries, Capacity: m.Capacity}
		}),
		EventsEmitted: s.Emitted,
		EventsLost:    s.Lost,
		Generation:    s.Generation,
		LastApply:     durationpb.New(s.LastApply),
		Epoch:         s.Epoch,
		Neighbours: each(s.Neighbours, func(n Neighbour) *weirv1.Neighbour {
			return &weirv1.Neighbour{Interface: plain(n.Interface), Hook: n.Hook, Program: plain(n.Program), Ahead: n.Ahead}
		}),
		Mode:   s.Mode,
		Source: plain(s.Source),
		Rings: each(s.Rings, func(r Ring) *weirv1.Ring {
			return &weirv1.Ring{
				Name: r.Name, Emitted: r.Emitted, Lost: r.Lost, Limited: r.Limited, Thinned: r.Thinned, Repeated: r.Repeated,
				Waiting: r.Waiting, Size: r.Size, Sample: r.Sample,
			}
		}),
		Programs: each(s.Programs, func(p Program) *weirv1.Program {
			return &weirv1.Program{Name: p.Name, RunCount: p.RunCount, RunTime: durationpb.New(p.RunTime)}
		}),
		Store: &weirv1.FlowStore{
			Remembered: s.Remembered, RememberedCapacity: s.RememberedCapacity, NotRemembered: s.NotRemembered,
		},
	}
	if !s.Started.IsZero() {
		p.Started = timestamppb.New(s.Started)
	}
	return p
}

func endpointProto(e Endpoint) *weirv1.Endpoint {
	return &weirv1.Endpoint{
		Interface:       plain(e.Interface),
		Ifindex:         e.Ifindex,
		Namespace:       e.Pod.Namespace,
		Pod:             e.Pod.Name,
		Ips:             each(e.IPs, addrText),
		State:           e.State,
		Why:             plain(e.Why),
		SetIngress:      e.SetIngress,
		SetEgress:       e.SetEgress,
		IngressPolicies: refsProto(e.IngressPolicies),
		EgressPolicies:  refsProto(e.EgressPolicies),
		Attached:        e.Attached,
	}
}

// each gives nil for nothing, so that nil and empty look alike on the wire.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}
