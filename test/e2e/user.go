// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Right of a user in a namespace.
type Right struct {
	Namespace, Verb, Resource string
	Name                      string // of the object; empty: all
}

// User makes a ServiceAccount that may do this and nothing else, and gives its
// kubeconfig, a file that goes with the test.
func (n *Namespace) User(name string, rights ...Right) string {
	n.t.Helper()
	ctx, accounts := n.t.Context(), n.cluster.client.CoreV1().ServiceAccounts(n.Name)
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, r := range rights {
		rule := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{r.Resource}, Verbs: []string{r.Verb}}
		if r.Name != "" {
			rule.ResourceNames = []string{r.Name}
		}
		rules[r.Namespace] = append(rules[r.Namespace], rule)
	}
	for namespace, list := range rules {
		n.grant(namespace, n.Name+"-"+name, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: n.Name, Name: name}, list)
	}
	file := filepath.Join(n.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(n.cluster.kubeconfigOf(n.t, n.Name, name)), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return file
}

// grant rights in a namespace that may outlive the test.
func (n *Namespace) grant(namespace, name string, to rbacv1.Subject, rules []rbacv1.PolicyRule) {
	n.t.Helper()
	api, ctx := n.cluster.client.RbacV1(), n.t.Context()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := api.Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{to},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}
	if _, err := api.RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), apiLimit)
		defer cancel()
		for _, err := range []error{
			api.RoleBindings(namespace).Delete(ctx, name, metav1.DeleteOptions{}),
			api.Roles(namespace).Delete(ctx, name, metav1.DeleteOptions{}),
		} {
			if ignoreNotFound(err) != nil {
				n.t.Errorf("take the rights of %s back: %v", name, err)
			}
		}
	})
}

// kubeconfigOf a ServiceAccount, with a token that is valid for an hour.
func (c *Cluster) kubeconfigOf(t *testing.T, namespace, name string) string {
	t.Helper()
	hour := int64(3600)
	request, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["weir"] = &clientcmdapi.Cluster{Server: c.config.Host, CertificateAuthorityData: c.config.CAData}
	file.AuthInfos["weir"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	file.Contexts["weir"] = &clientcmdapi.Context{Cluster: "weir", AuthInfo: "weir"}
	file.CurrentContext = "weir"
	raw, err := clientcmd.Write(*file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
