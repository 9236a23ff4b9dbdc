// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	kubeconfigSecret = "weir-e2e-kubeconfig"
	// The environment is one of the agent's sources of options, and is patched
	// by name, where arguments are a list.
	withKubeconfig = `{"spec": {"template": {"spec": {
		"automountServiceAccountToken": false,
		"volumes": [{"name": "weir-e2e", "secret": {"secretName": "` + kubeconfigSecret + `"}}],
		"containers": [{"name": "agent",
			"env": [{"name": "WEIR_KUBECONFIG", "value": "/weir-e2e/kubeconfig"}],
			"volumeMounts": [{"name": "weir-e2e", "mountPath": "/weir-e2e", "readOnly": true}]}]}}}}`
	withoutKubeconfig = `{"spec": {"template": {"spec": {
		"automountServiceAccountToken": null,
		"volumes": [{"name": "weir-e2e", "$patch": "delete"}],
		"containers": [{"name": "agent",
			"env": [{"name": "WEIR_KUBECONFIG", "$patch": "delete"}],
			"volumeMounts": [{"mountPath": "/weir-e2e", "$patch": "delete"}]}]}}}}`
)

// A kubeconfig file takes the place of the pod's own token: the agents restart
// with --kubeconfig and no ServiceAccount token, enforce, and go back.
func TestKubeconfig(t *testing.T) {
	needWeir(t)
	_, err := cluster.client.CoreV1().Secrets(agents.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: kubeconfigSecret},
		StringData: map[string]string{"kubeconfig": cluster.kubeconfigOf(t, agents.Namespace, agents.Name)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), updateLimit)
		defer cancel()
		if err := agents.Patch(ctx, withoutKubeconfig, updateLimit); err != nil {
			t.Error(err)
		}
		if err := cluster.client.CoreV1().Secrets(agents.Namespace).Delete(ctx, kubeconfigSecret, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if err := agents.Patch(t.Context(), withKubeconfig, updateLimit); err != nil {
		t.Fatal(err)
	}
	n := cluster.Namespace(t)
	n.Policy("friends", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	server := n.StartTraffic("server", PodOptions{Node: cluster.Nodes[0]})
	friend := n.StartTraffic("friend", PodOptions{Node: cluster.Nodes[1], Labels: map[string]string{"role": "friend"}})
	stranger := n.StartTraffic("stranger", PodOptions{Node: cluster.Nodes[1]})
	for _, p := range []*Pod{server, friend, stranger} {
		p.AwaitReady()
	}
	expectAll(t, friend, server.trafficTargets(), Passed)
	expectAll(t, stranger, server.trafficTargets(), Denied)
}
