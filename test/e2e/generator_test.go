// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/test/e2e/traffic"
)

// generator of policies about few pods with few labels, so that they meet.
type generator struct {
	*rand.Rand
	addresses []netip.Addr // of the pods
}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) percent(n int) bool { return g.IntN(100) < n }

func (g generator) policy(name string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.PodSelector = g.selector("app", "tier")
	p.Spec.PolicyTypes = pick(g, nil, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress})
	for range 1 + g.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: g.peers(), Ports: g.ports()})
	}
	for range g.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: g.peers(), Ports: g.ports()})
	}
	return p
}

func (g generator) selector(keys ...string) metav1.LabelSelector {
	var s metav1.LabelSelector
	for _, key := range keys {
		switch g.IntN(5) {
		case 0:
			s.MatchLabels = map[string]string{key: pick(g, "x", "y")}
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: pick(g, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn), Values: []string{pick(g, "x", "y")},
			})
		case 2:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: pick(g, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
			})
		}
	}
	return s
}

func (g generator) peers() []networkingv1.NetworkPolicyPeer {
	var list []networkingv1.NetworkPolicyPeer
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		if g.percent(35) {
			p.IPBlock = g.block()
		} else {
			if g.percent(70) {
				p.PodSelector = new(g.selector("app", "tier"))
			}
			if p.PodSelector == nil || g.percent(50) {
				p.NamespaceSelector = new(g.selector("team"))
			}
		}
		list = append(list, p)
	}
	return list
}

// block around a pod's address, of any size, with a smaller one left out.
func (g generator) block() *networkingv1.IPBlock {
	around := func(from int) netip.Prefix {
		a := pick(g, g.addresses...)
		bits := from + g.IntN(a.BitLen()-from+1)
		prefix, err := a.Prefix(bits)
		if err != nil {
			panic(err) // bits are in its range
		}
		return prefix
	}
	outer := around(0)
	block := &networkingv1.IPBlock{CIDR: outer.String()}
	if inner := around(0); g.percent(50) && inner.Bits() > outer.Bits() && outer.Contains(inner.Addr()) {
		block.Except = []string{inner.String()}
	}
	return block
}

func (g generator) ports() []networkingv1.NetworkPolicyPort {
	var list []networkingv1.NetworkPolicyPort
	for range g.IntN(3) {
		p := networkingv1.NetworkPolicyPort{Protocol: new(pick(g, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP))}
		switch g.IntN(4) {
		case 0:
			p.Port = new(intstr.FromString(pick(g, "tcp", "udp", "totals")))
		case 1:
			p.Port = new(intstr.FromInt32(pick[int32](g, traffic.PortTCP, traffic.PortUDP, traffic.PortTotals)))
		case 2:
			p.Port = new(intstr.FromInt32(pick[int32](g, 1, traffic.PortTCP, traffic.PortUDP)))
			p.EndPort = new(pick[int32](g, traffic.PortUDP, traffic.PortTotals, 65535))
		}
		list = append(list, p)
	}
	return list
}

func (g generator) labels() map[string]string {
	labels := map[string]string{}
	for _, key := range []string{"app", "tier"} {
		if g.percent(75) {
			labels[key] = pick(g, "x", "y", "z")
		}
	}
	return labels
}
