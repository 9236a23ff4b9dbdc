// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package watch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/policy"
)

// TestAgainstTheServerOfKUBECONFIG follows a real API server, in a namespace
// of its own:
//
//	KUBECONFIG=... go test -tags cluster -run KUBECONFIG -v ./agent/watch
func TestAgainstTheServerOfKUBECONFIG(t *testing.T) {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("set KUBECONFIG to that of a cluster")
	}
	cluster, err := kube.Connect(path, "weir-agent/test")
	if err != nil {
		t.Fatal(err)
	}
	client, ctx := cluster.Client, t.Context()
	t.Cleanup(func() {
		// A connection whose streams have just been given up is not idle yet.
		for end := time.Now().Add(patience); goleak.Find() != nil && time.Now().Before(end); {
			utilnet.CloseIdleConnectionsFor(client.CoreV1().RESTClient().(*rest.RESTClient).Client.Transport)
		}
	})
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("nodes %v, error %v", nodes, err)
	}
	k, err := NewKubernetes(KubernetesOptions{Client: client, Server: cluster.Server, Node: nodes.Items[0].Name}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t)
	s.run(k)
	s.until("synced", func() bool { return s.synced })
	if err := k.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	name := fmt.Sprintf("weir-watch-%d", time.Now().UnixNano())
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	s.until("the namespace", func() bool { return s.spaces[name].Labels["kubernetes.io/metadata.name"] == name })
	into := func(m *metav1.ObjectMeta) { m.Namespace, m.UID = name, "" }

	key := policy.ObjectKey{Namespace: name, Name: "p"}
	checkRealChanges(t, s, cluster, key)
	service, slice := apiService("web", ""), apiSlice("web-x", "web", 8080)
	into(&service.ObjectMeta)
	into(&slice.ObjectMeta)
	if _, err := client.CoreV1().Services(name).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DiscoveryV1().EndpointSlices(name).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("the Service with its backend", func() bool {
		svc := s.services[policy.ObjectKey{Namespace: name, Name: "web"}]
		return svc != nil && len(svc.IPs) > 0 && len(svc.Ports[0].Backends) == 1
	})
	if err := client.NetworkingV1().NetworkPolicies(name).Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("the policy is gone", func() bool { return s.policies[key] == nil })
	checkRealEvents(t, cluster, name)
}

// checkRealChanges: a policy that changes again and again.
func checkRealChanges(t *testing.T, s *session, cluster kube.Cluster, key policy.ObjectKey) {
	plain := apiPolicy("p", "0")
	plain.Namespace, plain.UID = key.Namespace, ""
	policies, ctx := cluster.Client.NetworkingV1().NetworkPolicies(key.Namespace), t.Context()
	plain, err := policies.Create(ctx, plain, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var worst time.Duration
	for i := range 20 {
		plain.Spec.PodSelector.MatchLabels["v"] = fmt.Sprint(i)
		begun := time.Now()
		if plain, err = policies.Update(ctx, plain, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.until("the change", func() bool {
			p := s.policies[key]
			return p != nil && p.Subjects.Requirements[0].Values[0] == fmt.Sprint(i)
		})
		worst = max(worst, time.Since(begun))
	}
	t.Logf("from the request of a change to its batch, at worst of 20: %s", worst)
}

// checkRealEvents: an event about an object of the namespace, and its repeat.
func checkRealEvents(t *testing.T, cluster kube.Cluster, namespace string) {
	r, err := kube.NewRecorder(kube.RecorderOptions{Client: cluster.Client, Node: "n1", Log: slog.Default(), Repeat: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for count := int32(1); count <= 2; count++ {
		r.Denied(kube.Pod(namespace, "web", "u1"), func() string { return "egress to data/db:5432 denied" })
		seen := func() bool {
			list, err := cluster.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=web"})
			return err == nil && len(list.Items) == 1 && list.Items[0].Count == count && strings.Contains(list.Items[0].Message, "data/db")
		}
		for end := time.Now().Add(patience); !seen(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("event number %d was not seen", count)
			}
		}
	}
}
