// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// TestReviewsOfKUBECONFIG asks a real API server about two viewers, in
// namespaces of its own:
//
//	KUBECONFIG=... go test -tags cluster -run KUBECONFIG -v ./agent/kube
func TestReviewsOfKUBECONFIG(t *testing.T) {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("set KUBECONFIG to that of a cluster")
	}
	cluster, err := Connect(path, "weir-agent/test")
	if err != nil {
		t.Fatal(err)
	}
	client, ctx := cluster.Client, t.Context()
	t.Cleanup(func() {
		utilnet.CloseIdleConnectionsFor(client.CoreV1().RESTClient().(*rest.RESTClient).Client.Transport)
	})
	unique := fmt.Sprint(time.Now().UnixNano())
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "weir-review-" + unique},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"weir.dev"}, Resources: []string{"flows"}, Verbs: []string{"get"}}}}
	_, err = client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		must(t, client.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{}))
	})
	names := map[string]string{"shop": "weir-shop-" + unique, "data": "weir-data-" + unique}
	tokens := map[string]string{}
	for short, name := range names {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		must(t, err)
		t.Cleanup(func() {
			must(t, client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}))
		})
		_, err = client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "weir-viewer"}}, metav1.CreateOptions{})
		must(t, err)
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "weir-viewer"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "weir-viewer", Namespace: name}}}
		_, err = client.RbacV1().RoleBindings(name).Create(ctx, binding, metav1.CreateOptions{})
		must(t, err)
		for _, audience := range []string{Audience, "another"} {
			answer, err := client.CoreV1().ServiceAccounts(name).CreateToken(ctx, "weir-viewer",
				&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
			must(t, err)
			tokens[short+" "+audience] = answer.Status.Token
		}
	}
	o := ReviewerDefaults()
	o.Client = client
	r, err := NewReviewer(o)
	must(t, err)
	for _, token := range []string{tokens["shop another"], "rubbish", tokens["shop "+Audience] + "x"} {
		if _, err := r.User(ctx, token); !errors.Is(err, ErrRefused) {
			t.Errorf("a bad token: %v", err)
		}
	}
	for short, name := range names {
		user, err := r.User(ctx, tokens[short+" "+Audience])
		must(t, err)
		if user.Namespace != name {
			t.Errorf("%s is of namespace %q", user.Name, user.Namespace)
		}
		for _, namespace := range []string{"", names["shop"], names["data"], "kube-system"} {
			may, err := r.May(ctx, user, namespace)
			must(t, err)
			if may != (namespace == name) {
				t.Errorf("%s may see %q: %t", user.Name, namespace, may)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
