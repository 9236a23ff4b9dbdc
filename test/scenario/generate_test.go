// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// chance writes random statements about a universe so small that they meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, from ...T) T { return from[c.IntN(len(from))] }

func (c chance) percent(n int) bool { return c.IntN(100) < n }

// statements of a state, and of changes to it.
func (c chance) statements() []string {
	var out []string
	for _, n := range []string{"a", "b", "c"} {
		if c.percent(85) {
			out = append(out, c.namespace(n))
		}
	}
	for n := range 2 + c.IntN(6) {
		out = append(out, c.pod(pick(c, "a", "b", "c")+fmt.Sprint("/p", n)))
	}
	for n := range 1 + c.IntN(4) {
		out = append(out, c.policy(pick(c, "a", "b"), fmt.Sprint("n", n)))
	}
	for range c.IntN(6) {
		out = append(out, "change: "+c.change())
	}
	return out
}

func (c chance) change() string {
	pod := pick(c, "a", "b", "c") + fmt.Sprint("/p", c.IntN(8))
	name := pick(c, "a", "b", "c")
	switch c.IntN(8) {
	case 0:
		return c.namespace(name)
	case 1:
		return "delete namespace " + name
	case 2:
		return "delete pod " + pod
	case 3:
		return fmt.Sprintf("delete policy %s/n%d", pick(c, "a", "b"), c.IntN(4))
	case 4, 5:
		return c.policy(pick(c, "a", "b"), fmt.Sprint("n", c.IntN(4)))
	}
	return c.pod(pod)
}

func (c chance) namespace(name string) string {
	return strings.TrimSpace("namespace " + name + c.labels("team"))
}

func (c chance) labels(keys ...string) string {
	out := ""
	for _, key := range keys {
		if c.percent(65) {
			out += " " + key + "=" + pick(c, "x", "y", "z")
		}
	}
	return out
}

func (c chance) pod(name string) string {
	out := "pod " + name
	kind := c.IntN(20)
	if kind < 16 {
		out += fmt.Sprintf(" 10.0.%d.%d", c.IntN(2), c.IntN(8))
	}
	if kind < 12 || kind > 15 && kind < 19 {
		out += fmt.Sprintf(" fd00:0:0:%d::%d", c.IntN(2), c.IntN(8))
	}
	if kind == 19 {
		out += " noip"
	}
	out += c.labels("app", "tier")
	for range c.IntN(3) {
		out += fmt.Sprintf(" port=%s:%s:%d", pick(c, "web", "dns"), pick(c, "TCP", "UDP", "SCTP"), pick(c, 80, 81, 443))
	}
	if c.percent(35) {
		out += " node=other"
	}
	if c.percent(6) {
		out += " hostnetwork"
	}
	if c.percent(6) {
		out += " terminal"
	}
	return out
}

func (c chance) policy(namespace, name string) string {
	p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.PodSelector = c.selector("app", "tier")
	if c.percent(70) {
		for _, kind := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			if c.percent(75) {
				p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, kind)
			}
		}
	}
	for range c.IntN(4) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: c.peers(), Ports: c.ports()})
	}
	for range c.IntN(4) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: c.peers(), Ports: c.ports()})
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		panic(err) // plain structs always marshal
	}
	return "policy <<\n" + string(text) + ">>"
}

func (c chance) selector(keys ...string) metav1.LabelSelector {
	var s metav1.LabelSelector
	for _, key := range keys {
		switch c.IntN(6) {
		case 0:
			s.MatchLabels = map[string]string{key: pick(c, "x", "y")}
		case 1:
			operator := pick(c, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn)
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{pick(c, "x", "y"), "z"}[:1+c.IntN(2)]})
		case 2:
			operator := pick(c, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: operator})
		}
	}
	return s
}

func (c chance) peers() []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range c.IntN(4) {
		var p networkingv1.NetworkPolicyPeer
		if c.percent(45) {
			p.IPBlock = c.block()
		}
		if p.IPBlock == nil && c.percent(95) || c.percent(4) {
			if c.percent(70) {
				p.PodSelector = new(c.selector("app", "tier"))
			}
			if p.PodSelector == nil || c.percent(40) {
				p.NamespaceSelector = new(c.selector("team"))
			}
		}
		out = append(out, p)
	}
	return out
}

// blocks nest, overlap, and end beside addresses of pods.
var blocks = [][]string{
	{"0.0.0.0/0", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/29", "10.0.0.4/30", "10.0.0.5/32", "192.0.2.0/24"},
	{"0.0.0.0/0", "10.0.0.0/15", "10.0.1.0/24", "10.0.1.0/30", "10.0.1.2/31", "10.0.1.3/32"},
	{"::/0", "fd00::/16", "fd00::/64", "fd00::/125", "fd00::4/126", "fd00::5/128", "2001:db8::/32"},
	{"::/0", "fd00::/62", "fd00:0:0:1::/64", "fd00:0:0:1::/126", "fd00:0:0:1::3/128"},
	{"fe80::/9", "fe80::/10", "fe80::/64", "fe80::1/128"},
	{"::ffff:10.0.0.0/112", "::ffff:10.0.1.0/120"},
}

func (c chance) block() *networkingv1.IPBlock {
	chain := pick(c, blocks...)
	b := &networkingv1.IPBlock{CIDR: pick(c, chain...)}
	for range c.IntN(3) {
		if c.percent(70) {
			b.Except = append(b.Except, pick(c, chain...)) // one outside spoils the block
		}
	}
	return b
}

func (c chance) ports() []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range c.IntN(4) {
		var p networkingv1.NetworkPolicyPort
		if c.percent(60) {
			p.Protocol = new(pick(c, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
		}
		if c.percent(2) {
			p.Protocol = new(corev1.Protocol("DCCP"))
		}
		switch c.IntN(5) {
		case 0:
			p.Port = new(intstr.FromString(pick(c, "web", "dns")))
		case 1, 2:
			p.Port = new(intstr.FromInt32(pick[int32](c, 1, 80, 81, 443, 65535)))
		case 3:
			p.Port = new(intstr.FromInt32(pick[int32](c, 1, 79, 80, 400)))
			p.EndPort = new(pick[int32](c, 80, 81, 443, 65535))
		}
		out = append(out, p)
	}
	return out
}
