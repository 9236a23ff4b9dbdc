// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
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
		StringData: map[string]string{"kubeconfig": kubeconfigOf(t)},
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

// kubeconfigOf the agents' ServiceAccount, with a token that is valid for an
// hour.
func kubeconfigOf(t *testing.T) string {
	t.Helper()
	hour := int64(3600)
	request, err := cluster.client.CoreV1().ServiceAccounts(agents.Namespace).CreateToken(t.Context(), agents.Name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["weir"] = &clientcmdapi.Cluster{Server: cluster.config.Host, CertificateAuthorityData: cluster.config.CAData}
	file.AuthInfos["weir"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	file.Contexts["weir"] = &clientcmdapi.Context{Cluster: "weir", AuthInfo: "weir"}
	file.CurrentContext = "weir"
	raw, err := clientcmd.Write(*file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
