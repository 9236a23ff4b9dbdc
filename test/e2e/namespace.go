// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

const (
	apiLimit  = 30 * time.Second
	goneLimit = 3 * time.Minute // for many pods
)

// Namespace of one test; it goes with the test.
type Namespace struct {
	Name    string
	cluster *Cluster
	t       *testing.T
}

// Namespace makes one with a name of its own.
func (c *Cluster) Namespace(t *testing.T) *Namespace {
	t.Helper()
	return c.namespace(t, metav1.ObjectMeta{GenerateName: "weir-e2e-"})
}

// NamespaceNamed makes one with this name. It waits while one of that name, of a
// run before, is on its way out.
func (c *Cluster) NamespaceNamed(t *testing.T, name string) *Namespace {
	t.Helper()
	return c.namespace(t, metav1.ObjectMeta{Name: name})
}

func (c *Cluster) namespace(t *testing.T, meta metav1.ObjectMeta) *Namespace {
	t.Helper()
	meta.Labels = map[string]string{"weir-e2e": "true"}
	var created *corev1.Namespace
	err := poll(t.Context(), goneLimit, func(ctx context.Context) (err error) {
		created, err = c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	n := &Namespace{Name: created.Name, cluster: c, t: t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), apiLimit)
		defer cancel()
		if err := c.client.CoreV1().Namespaces().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete namespace %s: %v", n.Name, err)
		}
	})
	err = poll(t.Context(), apiLimit, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(n.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		t.Fatalf("service account of namespace %s: %v", n.Name, err)
	}
	return n
}

// Policy creates a NetworkPolicy of a name and a spec in YAML.
func (n *Namespace) Policy(name, spec string) {
	n.t.Helper()
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &policy.Spec); err != nil {
		n.t.Fatalf("policy %s: %v", name, err)
	}
	_, err := n.cluster.client.NetworkingV1().NetworkPolicies(n.Name).Create(n.t.Context(), policy, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatalf("create policy %s: %v", name, err)
	}
}

// DeletePolicy by its name.
func (n *Namespace) DeletePolicy(name string) {
	n.t.Helper()
	err := n.cluster.client.NetworkingV1().NetworkPolicies(n.Name).Delete(n.t.Context(), name, metav1.DeleteOptions{})
	if err != nil {
		n.t.Fatalf("delete policy %s: %v", name, err)
	}
}

// Service of the pods with a label app, of a type; nodes' addresses, and those of
// a load balancer, count only for their own pods, so that a client outside keeps
// its address. It waits until the cluster has endpoints for it.
func (n *Namespace) Service(app string, kind corev1.ServiceType) *corev1.Service {
	n.t.Helper()
	families := corev1.IPFamilyPolicyPreferDualStack
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: corev1.ServiceSpec{
			Type:           kind,
			IPFamilyPolicy: &families,
			Selector:       map[string]string{"app": app},
			Ports: []corev1.ServicePort{
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: portName("tcp")},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 81, TargetPort: portName("udp")},
			},
		},
	}
	if kind != corev1.ServiceTypeClusterIP {
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	created, err := n.cluster.client.CoreV1().Services(n.Name).Create(n.t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatalf("create service %s: %v", app, err)
	}
	err = poll(n.t.Context(), apiLimit, func(ctx context.Context) error {
		slices, err := n.cluster.client.DiscoveryV1().EndpointSlices(n.Name).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + app})
		if err != nil {
			return err
		}
		for _, s := range slices.Items {
			if len(s.Endpoints) > 0 {
				return nil
			}
		}
		return fmt.Errorf("service %s has no endpoints", app)
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return created
}

// Empty the namespace of pods, and wait until all are gone.
func (n *Namespace) Empty() {
	n.t.Helper()
	pods := n.cluster.client.CoreV1().Pods(n.Name)
	if err := pods.DeleteCollection(n.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		n.t.Fatal(err)
	}
	err := poll(n.t.Context(), goneLimit, func(ctx context.Context) error {
		left, err := pods.List(ctx, metav1.ListOptions{})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d pods of %s are still there", len(left.Items), n.Name)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// Alias makes a Service of type ExternalName.
func (n *Namespace) Alias(name, of string) {
	n.t.Helper()
	_, err := n.cluster.client.CoreV1().Services(n.Name).Create(n.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: of},
	}, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatalf("create alias %s: %v", name, err)
	}
}

// Label the namespace.
func (n *Namespace) Label(key, value string) {
	n.t.Helper()
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, key, value)
	_, err := n.cluster.client.CoreV1().Namespaces().Patch(n.t.Context(), n.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		n.t.Fatalf("label namespace %s: %v", n.Name, err)
	}
}
