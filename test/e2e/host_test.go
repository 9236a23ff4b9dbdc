// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirnet/weir/test/e2e/traffic"
)

// A pod in its node's network is the node: it reaches the pods of that node
// always, those of another by an ipBlock alone, and no pod selector means it.
func TestHostNetwork(t *testing.T) {
	n := cluster.Namespace(t)
	n.Policy("labels-only", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {}}]}]}`)
	server := n.StartTraffic("server", PodOptions{Node: cluster.Nodes[0]})
	near := n.StartTraffic("near", PodOptions{Node: cluster.Nodes[0], HostNetwork: true})
	far := n.StartTraffic("far", PodOptions{Node: cluster.Nodes[1], HostNetwork: true})
	for _, p := range []*Pod{server, near, far} {
		p.AwaitReady()
	}
	expectAll(t, near, server.trafficTargets(), Passed)
	expectAll(t, far, server.trafficTargets(), denial())
	blocks := ""
	for _, a := range cluster.Nodes[1].Addresses {
		blocks += fmt.Sprintf("{ipBlock: {cidr: %s}},", netip.PrefixFrom(a, a.BitLen()))
	}
	n.Policy("node", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [`+blocks+`]}]}`)
	expectAll(t, far, server.trafficTargets(), Passed)
}

// A node is drained: its pods go by eviction and come back on the other node,
// under the same policy; the agent stays.
func TestNodeDrain(t *testing.T) {
	n := cluster.Namespace(t)
	drained, other := cluster.Nodes[1], cluster.Nodes[0]
	n.Policy("friends", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	friend := n.StartTraffic("friend", PodOptions{Node: other, Labels: map[string]string{"role": "friend"}})
	stranger := n.StartTraffic("stranger", PodOptions{Node: other})
	friend.AwaitReady()
	stranger.AwaitReady()
	n.cordon(other, true)
	n.deployServer()
	first := n.deployed(drained)
	n.cordon(other, false)
	expectAll(t, friend, first.trafficTargets(), Passed)
	expectAll(t, stranger, first.trafficTargets(), denial())

	n.cordon(drained, true)
	err := cluster.client.PolicyV1().Evictions(n.Name).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: first.Name}})
	if err != nil {
		t.Fatal(err)
	}
	second := n.deployed(other)
	expectAll(t, friend, second.trafficTargets(), Passed)
	expectAll(t, stranger, second.trafficTargets(), denial())
	if !*without {
		if _, err := agents.On(t.Context(), drained); err != nil {
			t.Errorf("after the drain: %v", err)
		}
	}
}

// cordon a node, or open it again; at the test's end it is open.
func (n *Namespace) cordon(node Node, closed bool) {
	n.t.Helper()
	set := func(ctx context.Context, closed bool) error {
		patch := fmt.Sprintf(`{"spec": {"unschedulable": %t}}`, closed)
		_, err := n.cluster.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
	if closed {
		n.t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), apiLimit)
			defer cancel()
			if err := set(ctx, false); err != nil {
				n.t.Errorf("open node %s again: %v", node.Name, err)
			}
		})
	}
	if err := set(n.t.Context(), closed); err != nil {
		n.t.Fatalf("cordon %s: %v", node.Name, err)
	}
}

func (n *Namespace) deployServer() {
	n.t.Helper()
	labels := map[string]string{"app": "server"}
	none := int64(0)
	_, err := n.cluster.client.AppsV1().Deployments(n.Name).Create(n.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "server"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &none,
					Containers: []corev1.Container{{
						Name: "traffic", Image: trafficImage(), ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"run"},
						Ports: []corev1.ContainerPort{{Name: "tcp", ContainerPort: traffic.PortTCP}},
					}},
				},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
}

// deployed server, once it is ready on a node.
func (n *Namespace) deployed(on Node) *Pod {
	n.t.Helper()
	var found *Pod
	err := poll(n.t.Context(), podLimit, func(ctx context.Context) error {
		pods, err := n.cluster.client.CoreV1().Pods(n.Name).List(ctx, metav1.ListOptions{LabelSelector: "app=server", FieldSelector: "spec.nodeName=" + on.Name})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp == nil && ready(&p) {
				found = &Pod{Name: p.Name, Node: on, namespace: n, traffic: true}
				return nil
			}
		}
		return errors.New("no server is ready on node " + on.Name)
	})
	if err != nil {
		n.t.Fatal(err)
	}
	found.AwaitReady()
	return found
}

// A node boots again: no BPF object is left, the CNI's configuration is. Its
// agent comes back, and policy holds on its pods, which start anew.
func TestReboot(t *testing.T) {
	needWeir(t)
	m := needMachine(t)
	n := cluster.Namespace(t)
	node, other := cluster.Nodes[1], cluster.Nodes[0]
	n.Policy("friends", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	server := n.StartTraffic("server", PodOptions{Node: node})
	server.AwaitReady()
	friend := n.StartTraffic("friend", PodOptions{Node: other, Labels: map[string]string{"role": "friend"}})
	// It calls all the time, also while the node's agent is not there yet. The
	// pod may come back with another address, and then it calls nobody: so
	// does the one that is made afterwards, by the new address.
	stranger := n.StartTraffic("stranger", PodOptions{Node: other}, append([]string{callsEvery}, server.Calls(traffic.Connect, traffic.Datagram)...)...)
	friend.AwaitReady()
	stranger.AwaitReady()
	before, err := agents.On(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := m.Reboot(t.Context(), node.Name); err != nil {
		t.Fatal(err)
	}
	if err := agents.AwaitNext(t.Context(), node, before, updateLimit); err != nil {
		t.Fatal(err)
	}
	err = poll(t.Context(), podLimit, func(ctx context.Context) error {
		if server.Restarts() == 0 {
			return errors.New("the server's container was not started again")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	server.AwaitReady()
	t.Logf("ready again after %.0f s", time.Since(began).Seconds())
	expectAll(t, friend, server.trafficTargets(), Passed)
	expectAll(t, stranger, server.trafficTargets(), Denied)
	totals, err := server.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range stranger.Addresses {
		if got := totals.Arrivals[a]; got != (traffic.Arrivals{}) {
			t.Errorf("since the reboot %d connections and %d datagrams of the stranger arrived", got.Connections, got.Datagrams)
		}
	}
}
