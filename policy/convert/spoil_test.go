// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/policy"
)

// rich has every kind of part, so that each can be spoilt.
const rich = `
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
    - namespaceSelector: {matchLabels: {team: b}}
      podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [bad]}]}
    - ipBlock: {cidr: 10.9.0.0/16, except: [10.9.1.0/24, 10.9.2.0/24]}
    ports:
    - {port: 80}
    - {port: 90, endPort: 95}
    - {port: sql}
    - {protocol: UDP}
  - ports: [{port: 7}]
  - from: [{ipBlock: {cidr: "2001:db8::/32"}}]
  egress:
  - to: [{namespaceSelector: {}}]
    ports: [{port: http}, {port: 53, protocol: UDP}]
  - to: [{ipBlock: {cidr: 8.0.0.0/7, except: [9.0.0.0/8]}}]
`

// A part that was good and becomes unusable may take permission away. It never
// gives any, and the policy isolates as before.
func TestSpoiltPartsAllowNothingMore(t *testing.T) {
	good := judge(t, decodePolicy(t, rich))
	allowed, spoilt, narrower := 0, 0, 0
	for _, ok := range good {
		if ok {
			allowed++
		}
	}
	if allowed == 0 || allowed == len(good) {
		t.Fatalf("%d of %d flows are allowed: the flows show nothing", allowed, len(good))
	}
	for i := 0; ; i++ {
		np := decodePolicy(t, rich)
		what, ok := spoil(&np.Spec, i)
		if !ok {
			break
		}
		spoilt++
		lost := 0
		for f, now := range judge(t, np) {
			if now && !good[f] {
				t.Errorf("%s: %s is allowed", what, f)
			}
			if good[f] && !now {
				lost++
			}
		}
		if lost > 0 {
			narrower++
		}
	}
	t.Logf("%d flows, %d allowed; %d parts spoilt, %d of which allow less", len(good), allowed, spoilt, narrower)
	if narrower != spoilt {
		t.Errorf("%d of %d spoilt parts made no difference: the flows do not see them", spoilt-narrower, spoilt)
	}
}

// spoils are the ways to make one part of a policy unusable.
type spoils []struct {
	what  string
	apply func()
}

// spoil makes the i-th part unusable; false if there is no such part.
func spoil(spec *networkingv1.NetworkPolicySpec, i int) (string, bool) {
	var all spoils
	for r := range spec.Ingress {
		all.peers(fmt.Sprintf("ingress %d", r), spec.Ingress[r].From)
		all.ports(fmt.Sprintf("ingress %d", r), spec.Ingress[r].Ports)
	}
	for r := range spec.Egress {
		all.peers(fmt.Sprintf("egress %d", r), spec.Egress[r].To)
		all.ports(fmt.Sprintf("egress %d", r), spec.Egress[r].Ports)
	}
	if i >= len(all) {
		return "", false
	}
	all[i].apply()
	return all[i].what, true
}

func (s *spoils) add(what string, apply func()) {
	*s = append(*s, struct {
		what  string
		apply func()
	}{what, apply})
}

func (s *spoils) peers(rule string, list []networkingv1.NetworkPolicyPeer) {
	for i := range list {
		p, at := &list[i], fmt.Sprintf("%s peer %d ", rule, i)
		s.add(at+"emptied", func() { *p = networkingv1.NetworkPolicyPeer{} })
		if p.IPBlock == nil {
			s.add(at+"with a block", func() { p.IPBlock = &networkingv1.IPBlock{CIDR: "0.0.0.0/0"} })
			s.add(at+"selector", func() { p.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}} })
			continue
		}
		s.add(at+"cidr", func() { p.IPBlock.CIDR = "10.0.0.0/40" })
		s.add(at+"with a selector", func() { p.PodSelector = &metav1.LabelSelector{} })
		for j := range p.IPBlock.Except {
			s.add(fmt.Sprintf("%sexcept %d", at, j), func() { p.IPBlock.Except[j] = "10.9.1.0/240" })
			s.add(fmt.Sprintf("%sexcept %d outside", at, j), func() { p.IPBlock.Except[j] = "::/1" })
		}
	}
}

func (s *spoils) ports(rule string, list []networkingv1.NetworkPolicyPort) {
	zero, dccp := int32(0), corev1.Protocol("DCCP")
	for i := range list {
		p, at := &list[i], fmt.Sprintf("%s port %d ", rule, i)
		if p.Port != nil {
			s.add(at+"number", func() { *p.Port = intstr.FromInt32(0) })
			s.add(at+"name", func() { *p.Port = intstr.FromString("80") })
		}
		s.add(at+"end", func() { p.EndPort = &zero })
		s.add(at+"protocol", func() { p.Protocol = &dccp })
	}
}

// judge evaluates a policy for shop/db against flows of every peer and port
// that the policy could tell apart.
func judge(t *testing.T, np *networkingv1.NetworkPolicy) map[string]bool {
	t.Helper()
	p, err := NetworkPolicy(np)
	if err != nil {
		t.Fatal(err)
	}
	if p.Isolates != [2]bool{true, true} {
		t.Fatalf("isolates %v, want both", p.Isolates)
	}
	db := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "db"}, IPs: mustAddrs(t, "10.0.0.1"), Ports: []policy.NamedPort{{Name: "sql", Protocol: policy.TCP, Number: 5432}}}
	web := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"}, Labels: map[string]string{"app": "web"}, IPs: mustAddrs(t, "10.0.0.2"), Ports: []policy.NamedPort{{Name: "http", Protocol: policy.TCP, Number: 8080}}}
	lab := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "lab", Name: "x"}, IPs: mustAddrs(t, "10.0.0.3")}
	bad := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "lab", Name: "y"}, Labels: map[string]string{"app": "bad"}, IPs: mustAddrs(t, "10.0.0.4")}
	c := &policy.Cluster{
		Namespaces: map[string]policy.Namespace{"shop": {Name: "shop"}, "lab": {Name: "lab", Labels: map[string]string{"team": "b"}}},
		Pods:       []*policy.Pod{db, web, lab, bad},
		Policies:   []*policy.Policy{p},
	}
	out := map[string]bool{}
	for _, d := range policy.Directions {
		for _, peer := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.9.0.1", "10.9.1.1", "10.9.2.1", "8.8.8.8", "9.8.8.8", "2001:db8::1", "fd00::9"} {
			for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP, policy.ICMP} {
				for _, port := range []uint16{0, 7, 53, 80, 90, 93, 95, 96, 5432, 8080} {
					f := policy.Flow{Direction: d, Subject: db, Peer: netip.MustParseAddr(peer), Protocol: protocol, Port: port}
					out[fmt.Sprint(d, peer, protocol, port)] = c.Evaluate(f).Allowed
				}
			}
		}
	}
	return out
}
