// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weirnet/weir/policy"
)

// NetworkPolicy converts a NetworkPolicy. It gives an error, and no policy, if
// the name, the namespace, spec.podSelector or spec.policyTypes cannot be used:
// whom it isolates, and in which direction, is then not known. Any other fault
// takes the faulty peer or port out of its rule, with a problem in that rule;
// rules keep their index.
func NetworkPolicy(np *networkingv1.NetworkPolicy) (*policy.Policy, error) {
	k, err := key(&np.ObjectMeta)
	if err != nil {
		return nil, err
	}
	p := &policy.Policy{ObjectKey: k, UID: string(np.UID), Generation: np.Generation}
	if p.Subjects, err = selector(&np.Spec.PodSelector); err != nil {
		return nil, fmt.Errorf("spec.podSelector: %w", err)
	}
	if p.Isolates, err = isolates(&np.Spec); err != nil {
		return nil, err
	}
	if p.Isolates[policy.Ingress] {
		for _, r := range np.Spec.Ingress {
			p.Rules[policy.Ingress] = append(p.Rules[policy.Ingress], rule("from", r.From, r.Ports))
		}
	}
	if p.Isolates[policy.Egress] {
		for _, r := range np.Spec.Egress {
			p.Rules[policy.Egress] = append(p.Rules[policy.Egress], rule("to", r.To, r.Ports))
		}
	}
	return p, nil
}

// isolates applies the defaults of policyTypes. A value that is not known is an
// error for the whole policy: with "Ingres" ignored the list would be empty or
// name the other direction alone, and the pods would stand open.
func isolates(spec *networkingv1.NetworkPolicySpec) ([2]bool, error) {
	var out [2]bool
	if len(spec.PolicyTypes) == 0 {
		out[policy.Ingress] = true
		out[policy.Egress] = len(spec.Egress) > 0
		return out, nil
	}
	for i, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out[policy.Ingress] = true
		case networkingv1.PolicyTypeEgress:
			out[policy.Egress] = true
		default:
			return out, fmt.Errorf("spec.policyTypes[%d]: %q is neither Ingress nor Egress", i, t)
		}
	}
	return out, nil
}

// rule converts one rule. AnyPeer and AnyPort come from what the object does
// not say, never from what could not be used.
func rule(side string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) policy.Rule {
	r := policy.Rule{AnyPeer: len(peers) == 0, AnyPort: len(ports) == 0}
	for i := range peers {
		p, err := peer(&peers[i])
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("%s[%d]: %v", side, i, err))
			continue
		}
		r.Peers = append(r.Peers, p)
	}
	for i := range ports {
		p, err := port(&ports[i])
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("ports[%d]: %v", i, err))
			continue
		}
		r.Ports = append(r.Ports, p)
	}
	return r
}
