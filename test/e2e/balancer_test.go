// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A load balancer's address from inside, where kube-proxy translates it on the
// pod's own node, and from outside: the policy of the backend decides, and that
// of a client which is isolated for egress, on either node.
func TestLoadBalancer(t *testing.T) {
	n := cluster.Namespace(t)
	// Both on one node: with externalTrafficPolicy Local that is where the
	// outside finds them.
	entry := cluster.Nodes[0]
	for app, node := range map[string]Node{"open": entry, "closed": entry, "other": cluster.Nodes[1]} {
		n.StartTraffic(app, PodOptions{Node: node})
	}
	n.Policy("nobody", `{podSelector: {matchLabels: {app: closed}}, policyTypes: [Ingress]}`)
	n.Policy("isolated", `{podSelector: {matchLabels: {role: isolated}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: open}}}]}]}`)
	// Of the ranges for documentation. The test is the cloud: it gives them to the
	// Services, and routes them to a node.
	at := map[string][]Target{}
	for i, app := range []string{"open", "closed", "other"} {
		at[app] = n.balance(app, fmt.Sprintf("203.0.113.%d", i+1), fmt.Sprintf("2001:db8:77::%d", i+1))
	}
	rows := []struct {
		role, app string
		want      Verdict
	}{
		{"free", "open", Passed},
		{"free", "closed", denial()},
		{"free", "other", Passed},
		{"isolated", "open", Passed},
		{"isolated", "other", denial()},
	}
	for i, node := range cluster.Nodes[:2] {
		for _, role := range []string{"free", "isolated"} {
			client := n.StartTraffic(fmt.Sprint(role, "-", i), PodOptions{Node: node, Labels: map[string]string{"role": role}})
			client.AwaitReady()
			for _, r := range rows {
				if r.role == role {
					t.Run(client.Name+" to "+r.app, func(t *testing.T) { expectAll(t, client, at[r.app], r.want) })
				}
			}
		}
	}
	t.Run("outside", func(t *testing.T) { n.balancedOutside(t, entry, at) })
}

// balancedOutside: a client outside, which also keeps its address, so that a
// policy can allow it.
func (n *Namespace) balancedOutside(t *testing.T, entry Node, at map[string][]Target) {
	m := needMachine(t)
	var tcp Target // of one that is closed
	for app, targets := range at {
		for _, to := range targets {
			if to.Protocol != "tcp" || app == "other" {
				continue
			}
			address := to.Address.Addr()
			via := entry.address(address.Is6())
			if err := m.Route(t.Context(), address, via); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := m.Unroute(context.Background(), address); err != nil {
					t.Error(err)
				}
			})
			want := Passed
			if app == "closed" {
				want = denial()
				tcp = to
			}
			if err := Expect(t.Context(), Outside{}, to, want); err != nil {
				t.Error(err)
			}
		}
	}
	own, err := OwnAddress(t.Context(), tcp)
	if err != nil {
		t.Fatal(err)
	}
	n.Policy("outside", fmt.Sprintf(`{podSelector: {matchLabels: {app: closed}}, ingress: [{from: [{ipBlock: {cidr: %s/%d}}]}]}`, own, own.BitLen()))
	if err := Expect(t.Context(), Outside{}, tcp, Passed); err != nil {
		t.Errorf("once %s is allowed: %v", own, err)
	}
}

// balance makes a Service of type LoadBalancer, and gives it the addresses of its
// families.
func (n *Namespace) balance(app, four, six string) []Target {
	n.t.Helper()
	s := n.Service(app, corev1.ServiceTypeLoadBalancer)
	var targets []Target
	for _, family := range s.Spec.IPFamilies {
		address := netip.MustParseAddr(four)
		if family == corev1.IPv6Protocol {
			address = netip.MustParseAddr(six)
		}
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: address.String()})
		targets = append(targets, Target{"tcp", netip.AddrPortFrom(address, 80)}, Target{"udp", netip.AddrPortFrom(address, 81)})
	}
	if _, err := n.cluster.client.CoreV1().Services(n.Name).UpdateStatus(n.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		n.t.Fatalf("status of service %s: %v", app, err)
	}
	return targets
}

// address of the node, of a family; invalid: it has none.
func (n Node) address(six bool) netip.Addr {
	for _, a := range n.Addresses {
		if a.Is6() == six {
			return a
		}
	}
	return netip.Addr{}
}
