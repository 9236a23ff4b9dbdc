// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Where the cluster's DNS is by custom.
const (
	dnsNamespace = "kube-system"
	dnsService   = "kube-dns"
	dnsHealth    = 8080 // of CoreDNS's pods
)

// A client that may speak with the DNS and one peer, on either node: it finds
// every Service by name, also through an alias (ExternalName), and reaches that
// one. A client that may speak with the peer alone finds none.
func TestDNS(t *testing.T) {
	server := dnsServer(t)
	n := cluster.Namespace(t)
	for _, name := range []string{"peer", "other"} {
		n.StartTraffic(name, PodOptions{Node: cluster.Nodes[0]}).AwaitReady()
	}
	peer, other := n.Service("peer", corev1.ServiceTypeClusterIP), n.Service("other", corev1.ServiceTypeClusterIP)
	n.Alias("alias", "peer."+n.Name+".svc.cluster.local")
	const toPeer = `{to: [{podSelector: {matchLabels: {app: peer}}}]}`
	n.Policy("dns-and-peer", `{podSelector: {matchLabels: {role: client}}, policyTypes: [Ingress, Egress], egress: [`+toPeer+`,
		{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],
		 ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}]}`)
	n.Policy("peer-only", `{podSelector: {matchLabels: {role: deaf}}, policyTypes: [Egress], egress: [`+toPeer+`]}`)
	for i, node := range cluster.Nodes[:2] {
		client := n.StartTraffic(fmt.Sprint("client-", i), PodOptions{Node: node, Labels: map[string]string{"role": "client"}})
		deaf := n.StartTraffic(fmt.Sprint("deaf-", i), PodOptions{Node: node, Labels: map[string]string{"role": "deaf"}})
		client.AwaitReady()
		deaf.AwaitReady()
		t.Run(node.Name, func(t *testing.T) {
			expectName(t, client, "peer."+n.Name, peer)
			expectName(t, client, "alias."+n.Name, peer)
			expectName(t, client, "other."+n.Name, other)
			expectAll(t, client, virtual(t, peer), Passed)
			expectAll(t, client, virtual(t, other), denial())
			expectAll(t, client, []Target{{"tcp", netip.AddrPortFrom(server, dnsHealth)}}, denial())
			expectAll(t, deaf, virtual(t, peer), Passed)
			out, code, err := deaf.Exec(t.Context(), trafficProgram, "lookup", "peer."+n.Name)
			if found := err == nil && code == 0; found != *without {
				t.Errorf("a lookup that policy denies: found %t, want %t (%s, %v)", found, *without, out, err)
			}
		})
	}
}

// dnsServer is the address of a ready pod of the cluster's DNS.
func dnsServer(t *testing.T) netip.Addr {
	t.Helper()
	service, err := cluster.client.CoreV1().Services(dnsNamespace).Get(t.Context(), dnsService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		t.Skipf("the cluster has no Service %s/%s: --dns names manifests of a DNS", dnsNamespace, dnsService)
	}
	if err != nil {
		t.Fatal(err)
	}
	var address netip.Addr
	err = poll(t.Context(), podLimit, func(ctx context.Context) error {
		pods, err := cluster.client.CoreV1().Pods(dnsNamespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: service.Spec.Selector})})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if ready(&p) {
				address, err = netip.ParseAddr(p.Status.PodIP)
				return err
			}
		}
		return fmt.Errorf("none of %d pods of the DNS is ready", len(pods.Items))
	})
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// expectName of a Service, within the time that a change takes to arrive.
func expectName(t *testing.T, from *Pod, name string, s *corev1.Service) {
	t.Helper()
	want := slices.Sorted(slices.Values(s.Spec.ClusterIPs))
	err := poll(t.Context(), settleLimit, func(ctx context.Context) error {
		out, code, err := from.Exec(ctx, trafficProgram, "lookup", name)
		if err != nil {
			return err
		}
		if got := slices.Sorted(strings.FieldsSeq(out)); code != 0 || !slices.Equal(got, want) {
			return fmt.Errorf("%s asks for %s: %s (exit code %d), want %s", from, name, out, code, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
