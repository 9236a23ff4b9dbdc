// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const denyAll = `{podSelector: {}, policyTypes: [Ingress, Egress]}`

// expectAll calls all targets at once.
func expectAll(t *testing.T, from caller, targets []Target, want Verdict) {
	t.Helper()
	var wait sync.WaitGroup
	for _, to := range targets {
		wait.Go(func() {
			if err := Expect(t.Context(), from, to, want); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// Under a default deny of both directions the kubelet's probes go on: the pod
// becomes ready, and is not restarted, while nobody else can reach it.
func TestProbesThroughDefaultDeny(t *testing.T) {
	n := cluster.Namespace(t)
	n.Policy("default-deny", denyAll)
	server := n.Pod("server", PodOptions{Node: cluster.Nodes[0], Probes: true})
	peers := []*Pod{
		n.StartPod("neighbour", PodOptions{Node: cluster.Nodes[0]}),
		n.StartPod("far", PodOptions{Node: cluster.Nodes[1]}),
	}
	began := time.Now()
	for _, p := range peers {
		p.AwaitReady()
		expectAll(t, p, server.Targets(), denial())
	}
	// One failed probe in any of these seconds restarts the container.
	for time.Since(began) < 10*time.Second {
		server.AwaitReady()
		if r := server.Restarts(); r > 0 {
			t.Fatalf("%d restarts: the kubelet's probes do not reach the pod", r)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Second):
		}
	}
}

// Pods on one node and on two, by label, both protocols, every address family
// that the cluster gives.
func TestPodToPod(t *testing.T) {
	n := cluster.Namespace(t)
	server := n.StartPod("server", PodOptions{Node: cluster.Nodes[0]})
	rows := []struct {
		name string
		node Node
		role string
		want Verdict
	}{
		{"friend-near", cluster.Nodes[0], "friend", Passed},
		{"friend-far", cluster.Nodes[1], "friend", Passed},
		{"stranger-near", cluster.Nodes[0], "stranger", denial()},
		{"stranger-far", cluster.Nodes[1], "stranger", denial()},
	}
	pods := make([]*Pod, len(rows))
	for i, r := range rows {
		pods[i] = n.StartPod(r.name, PodOptions{Node: r.node, Labels: map[string]string{"role": r.role}})
	}
	n.Policy("friends", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	server.AwaitReady()
	for i, r := range rows {
		pods[i].AwaitReady()
		t.Run(r.name, func(t *testing.T) { expectAll(t, pods[i], server.Targets(), r.want) })
	}
	t.Run("policy deleted", func(t *testing.T) {
		n.DeletePolicy("friends")
		expectAll(t, pods[2], server.Targets(), Passed)
	})
}

// An isolated client reaches a Service by the policy on the Service's pods, on
// whichever node they are.
func TestClusterIP(t *testing.T) {
	n := cluster.Namespace(t)
	for _, p := range []*Pod{
		n.StartPod("near", PodOptions{Node: cluster.Nodes[0]}),
		n.StartPod("far", PodOptions{Node: cluster.Nodes[1]}),
		n.StartPod("secret", PodOptions{Node: cluster.Nodes[1]}),
	} {
		p.AwaitReady()
	}
	client := n.Pod("client", PodOptions{Node: cluster.Nodes[0]})
	n.Policy("client", `{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [near, far]}]}}]}]}`)
	for app, want := range map[string]Verdict{"near": Passed, "far": Passed, "secret": denial()} {
		service := n.Service(app, corev1.ServiceTypeClusterIP)
		t.Run(app, func(t *testing.T) { expectAll(t, client, virtual(t, service), want) })
	}
}

func virtual(t *testing.T, s *corev1.Service) []Target {
	t.Helper()
	var list []Target
	for _, ip := range s.Spec.ClusterIPs {
		address, err := netip.ParseAddr(ip)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Target{"tcp", netip.AddrPortFrom(address, 80)}, Target{"udp", netip.AddrPortFrom(address, 81)})
	}
	return list
}

// A client outside the cluster reaches a node port as the policy of the pod
// behind it says, by its own address.
func TestNodePortFromOutside(t *testing.T) {
	n := cluster.Namespace(t)
	n.Pod("server", PodOptions{Node: cluster.Nodes[0]})
	service := n.Service("server", corev1.ServiceTypeNodePort)
	target := Target{"tcp", netip.AddrPortFrom(cluster.Nodes[0].Addresses[0], uint16(service.Spec.Ports[0].NodePort))}
	own, err := OwnAddress(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name, policy string
		want         Verdict
	}{
		{"no policy", "", Passed},
		{"default deny", denyAll, denial()},
		{"our address allowed", fmt.Sprintf(`{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: %s/%d}}]}]}`, own, own.BitLen()), Passed},
	}
	for i, step := range steps {
		if step.policy != "" {
			n.Policy(fmt.Sprintf("step-%d", i), step.policy)
		}
		t.Run(step.name, func(t *testing.T) {
			if err := Expect(t.Context(), Outside{}, target, step.want); err != nil {
				t.Error(err)
			}
		})
	}
}
