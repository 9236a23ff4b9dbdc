// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/agent/endpoint"
	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// judge asks the live maps.
type judge interface {
	Judge(pod policy.ObjectKey, q datapath.Question) (datapath.Answer, error)
}

// policyReader answers what is enforced and why, from the directory.
type policyReader struct {
	dir   *directory
	state *state
	node  string
	live  judge
	// accounts nil: nobody counts; else since then.
	accounts *flows.Accounts
	since    time.Time
}

// Policies implements server.PolicyReader.
func (r *policyReader) Policies(_ context.Context, namespace string) ([]server.PolicyState, error) {
	states := r.state.snapshot()
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	var list []server.PolicyState
	for ns, policies := range r.dir.policies {
		if namespace != "" && ns != namespace {
			continue
		}
		for _, p := range policies {
			list = append(list, r.describe(p, states))
		}
	}
	slices.SortFunc(list, func(a, b server.PolicyState) int { return a.Key.Compare(b.Key) })
	return list, nil
}

// Policy implements server.PolicyReader.
func (r *policyReader) Policy(_ context.Context, key policy.ObjectKey) (server.PolicyState, error) {
	states := r.state.snapshot()
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	p, ok := r.dir.policies[key.Namespace][key.Name]
	if !ok {
		return server.PolicyState{}, fmt.Errorf("policy %s: %w; `weir policy list` shows those that this agent knows", key, server.ErrNotFound)
	}
	return r.describe(p, states), nil
}

// describe p. The caller holds the directory's lock, and took the states before
// it: what they say to be in force then, is.
func (r *policyReader) describe(p *policy.Policy, states snapshot) server.PolicyState {
	s := server.PolicyState{
		Key: p.ObjectKey, UID: p.UID, Subjects: policy.SelectorText(p.Subjects),
		Isolates: p.Isolates, Problems: p.Problems(),
		Generation: p.Generation, InForce: states.holds(p), PodStates: map[string]uint32{},
	}
	endpoints := map[policy.ObjectKey]string{}
	for _, e := range states.endpoints {
		endpoints[e.Pod] = e.State
	}
	for _, direction := range policy.Directions {
		for i, rule := range p.Rules[direction] {
			ref := policy.RuleRef{Policy: p.ObjectKey, Direction: direction, Index: i}
			s.Rules = append(s.Rules, server.RuleState{
				Ref: ref, Text: policy.RuleText(rule), Problems: slices.Concat(rule.Problems, r.dir.remarks[ref]),
			})
		}
	}
	for key, pod := range r.dir.pods {
		if key.Namespace == p.Namespace && pod.Node == r.node && !pod.HostNetwork && !pod.Terminal && p.Subjects.Matches(pod.Labels) {
			s.Pods = append(s.Pods, key)
			at := endpoints[key]
			if at == "" {
				at = endpoint.NotReady.String()
			}
			s.PodStates[at]++
		}
	}
	slices.SortFunc(s.Pods, policy.ObjectKey.Compare)
	return s
}

// Explain implements server.Explainer.
func (r *policyReader) Explain(_ context.Context, q server.Question) (server.Explanation, error) {
	source, destination, err := r.ends(q)
	if err != nil {
		return server.Explanation{}, err
	}
	from, to, err := commonFamily(source.addrs, destination.addrs)
	if err != nil {
		return server.Explanation{}, err
	}
	answer := server.Explanation{
		Verdict:     bpf.WeirVerdictVERDICT_ALLOWED,
		Source:      r.peer(source, from, 0),
		Destination: r.peer(destination, to, q.Port),
	}
	if source.pod != nil {
		f := policy.Flow{Direction: policy.Egress, Subject: source.pod, Peer: to, Protocol: q.Protocol, Port: q.Port}
		end := r.explainEnd(f)
		answer.Ends = append(answer.Ends, end)
		if end.Reason == bpf.WeirReasonREASON_DEFERRED {
			answer.Ends = append(answer.Ends, r.explainBackends(f, answer.Destination.Service)...)
		}
	}
	if destination.pod != nil {
		f := policy.Flow{Direction: policy.Ingress, Subject: destination.pod, Peer: from, Protocol: q.Protocol, Port: q.Port}
		answer.Ends = append(answer.Ends, r.explainEnd(f))
	}
	for _, end := range answer.Ends {
		if end.Here && end.Verdict == bpf.WeirVerdictVERDICT_DENIED {
			answer.Verdict = bpf.WeirVerdictVERDICT_DENIED
		}
	}
	return answer, nil
}

// explainBackends judges each backend that the Service has for what was asked:
// which of them a connection gets is decided by the node for each anew.
func (r *policyReader) explainBackends(f policy.Flow, service *policy.Service) []server.ExplainedEnd {
	if service == nil {
		return nil // an address of this node: what is behind the port is not known
	}
	var ends []server.ExplainedEnd
	for _, port := range service.Ports {
		if port.Protocol != f.Protocol || port.Number != f.Port {
			continue
		}
		for _, backend := range port.Backends {
			if backend.Addr().Is4() != f.Peer.Is4() {
				continue
			}
			asked := f
			asked.Peer, asked.Port = backend.Addr(), backend.Port()
			end := r.explainEnd(asked)
			peer := r.peer(place{}, asked.Peer, asked.Port)
			end.Backend = &peer
			ends = append(ends, end)
		}
	}
	return ends
}

// explainEnd judges by the policies, rule by rule, and asks the maps beside it.
func (r *policyReader) explainEnd(f policy.Flow) server.ExplainedEnd {
	end := server.ExplainedEnd{Direction: f.Direction, Pod: f.Subject.ObjectKey, Here: f.Subject.Node == r.node}
	if !end.Here {
		return end
	}
	end.Verdict, end.Reason = bpf.WeirVerdictVERDICT_ALLOWED, bpf.WeirReasonREASON_NOT_ISOLATED
	end.Isolating = r.isolating(f)
	if len(end.Isolating) > 0 {
		end.Verdict, end.Reason = bpf.WeirVerdictVERDICT_DENIED, bpf.WeirReasonREASON_NO_RULE
	}
	for _, o := range r.dir.outcomes(f) {
		end.Outcomes = append(end.Outcomes, server.Outcome{Rule: o.Rule, Matched: o.Matched, Why: o.Why})
		if o.Matched && end.Rule == nil {
			end.Verdict, end.Reason, end.Rule = bpf.WeirVerdictVERDICT_ALLOWED, bpf.WeirReasonREASON_RULE, &o.Rule
		}
	}
	r.askMaps(f, &end)
	return end
}

// askMaps adds what the live maps say. A destination that the node translates
// is theirs alone to judge: policies speak of backends, not of a Service's
// address.
func (r *policyReader) askMaps(f policy.Flow, end *server.ExplainedEnd) {
	answer, err := r.live.Judge(f.Subject.ObjectKey, datapath.Question{
		Direction: f.Direction, Peer: f.Peer, Protocol: f.Protocol, Port: f.Port,
	})
	if err != nil {
		return // the pod is not bound: endpoints and status say why
	}
	end.Live = &server.LiveAnswer{Verdict: answer.Verdict, Rule: r.dir.Rule(answer.Rule)}
	switch answer.Reason {
	case bpf.WeirReasonREASON_NO_HOOK, bpf.WeirReasonREASON_DEFERRED, bpf.WeirReasonREASON_TO_NODE, bpf.WeirReasonREASON_FROM_NODE, bpf.WeirReasonREASON_OWN_TRAFFIC:
		end.Verdict, end.Reason, end.Rule = answer.Verdict, answer.Reason, nil
	}
}

func (r *policyReader) isolating(f policy.Flow) []policy.ObjectKey {
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	var keys []policy.ObjectKey
	for _, p := range r.dir.policiesOf(f.Subject, f.Direction) {
		keys = append(keys, p.ObjectKey)
	}
	return keys
}

// place is an end that was found: a pod with its addresses, or an address.
type place struct {
	pod   *policy.Pod
	addrs []netip.Addr
}

func (r *policyReader) ends(q server.Question) (source, destination place, err error) {
	if source, err = r.find(q.Source); err != nil {
		return source, destination, fmt.Errorf("source: %w", err)
	}
	if destination, err = r.find(q.Destination); err != nil {
		return source, destination, fmt.Errorf("destination: %w", err)
	}
	if source.pod == nil && destination.pod == nil {
		err = fmt.Errorf("neither %s nor %s is a pod's address, so no policy judges this flow: %w; name a pod as NAMESPACE/NAME", source.addrs[0], destination.addrs[0], server.ErrNotFound)
	}
	return source, destination, err
}

func (r *policyReader) find(e server.End) (place, error) {
	if e.Addr.IsValid() {
		addr := e.Addr.Unmap()
		return place{pod: r.dir.Owner(addr).Pod, addrs: []netip.Addr{addr}}, nil
	}
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	pod, ok := r.dir.pods[e.Pod]
	if !ok {
		return place{}, fmt.Errorf("pod %s: %w; `weir endpoints` shows the pods of this node", e.Pod, server.ErrNotFound)
	}
	if len(pod.IPs) == 0 {
		return place{}, fmt.Errorf("pod %s has no address yet: %w", e.Pod, server.ErrNotReady)
	}
	return place{pod: pod, addrs: pod.IPs}, nil
}

func (r *policyReader) peer(p place, addr netip.Addr, port uint16) flows.Peer {
	owner := r.dir.Owner(addr)
	if p.pod != nil {
		owner = flows.Owner{Identity: flows.PodIdentity, Pod: p.pod}
	}
	return flows.Peer{Addr: addr, Port: port, Identity: owner.Identity, Pod: owner.Pod, Service: owner.Service}
}

// commonFamily picks the first address of a that b has one of the same family for.
func commonFamily(a, b []netip.Addr) (netip.Addr, netip.Addr, error) {
	for _, x := range a {
		for _, y := range b {
			if x.Is4() == y.Is4() {
				return x, y, nil
			}
		}
	}
	return netip.Addr{}, netip.Addr{}, fmt.Errorf("%v and %v have no address family in common: %w", a, b, server.ErrInvalid)
}
