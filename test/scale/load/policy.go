// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Port is what the peers of a team may use.
const Port = 8080

// policyKinds is how many policies a namespace needs until each kind is there.
const policyKinds = 5

// policy with this number: the namespaces take turns, and in each the kinds.
// All of them select the local pods. No term covers the addresses of the
// unmatched pods, so that these cost no write.
func policy(i int, p Plan) *networkingv1.NetworkPolicy {
	home, round := i%p.Namespaces, i/p.Namespaces
	out := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceName(home)}}
	team := []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{teamKey: fmt.Sprint(home % teams)}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{roleKey: peerRole}},
	}}
	own := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{appKey: "web"}}}}
	switch round % policyKinds {
	case 0:
		out.Name = "deny"
		out.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	case 1:
		out.Name = "from-team"
		out.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: team, Ports: ports(Port, 0)}}
	case 2:
		out.Name = "to-team"
		out.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		out.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: team, Ports: ports(Port, 0)}}
	case 3:
		out.Name = "own"
		out.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: own, Ports: ports(9000+int32(home), 0)}}
		out.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: own, Ports: ports(9000, 9300)}}
		out.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	case 4:
		out.Name = "outside"
		block := &networkingv1.IPBlock{CIDR: fmt.Sprintf("203.0.%d.0/24", home%256), Except: []string{fmt.Sprintf("203.0.%d.128/26", home%256)}}
		out.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: block}}, Ports: ports(443, 0)}}
		out.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	}
	out.Name = fmt.Sprintf("%s-%d", out.Name, round)
	return out
}

// ports of TCP from low, to high if that is above 0.
func ports(low, high int32) []networkingv1.NetworkPolicyPort {
	tcp, from := corev1.ProtocolTCP, intstr.FromInt32(low)
	port := networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: &from}
	if high > 0 {
		port.EndPort = &high
	}
	return []networkingv1.NetworkPolicyPort{port}
}
