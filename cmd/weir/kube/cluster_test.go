// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pod(name, node string, phase corev1.PodPhase, port string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "weir-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": "weir", "app.kubernetes.io/component": "agent"}},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
	if port != "" {
		p.Annotations = map[string]string{portAnnotation: port}
	}
	return p
}

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

// tokens answers for tokens of the namespaces that are allowed.
func tokens(client *fake.Clientset, allowed ...string) (asked func() []string) {
	var list []string
	client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create := a.(clienttesting.CreateActionImpl)
		request := create.GetObject().(*authenticationv1.TokenRequest).DeepCopy()
		list = append(list, create.Namespace+"/"+create.Name+" "+strings.Join(request.Spec.Audiences, ",")+" "+create.Subresource)
		if !slices.Contains(allowed, create.Namespace) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "serviceaccounts"}, create.Name, errors.New("no"))
		}
		request.Status.Token = fmt.Sprint("token-", create.Namespace, "-", len(list))
		return true, request, nil
	})
	return func() []string { return list }
}

func TestAgents(t *testing.T) {
	client := fake.NewClientset(node("a"), node("b"), node("c"), node("d"), node("e"),
		pod("w-a", "a", corev1.PodRunning, "9966"), pod("w-b", "b", corev1.PodPending, "9966"), pod("w-b2", "b", corev1.PodRunning, "9966"),
		pod("w-c", "c", corev1.PodFailed, "9966"), pod("w-d", "d", corev1.PodRunning, ""))
	asked := tokens(client, "weir-system")
	c := &Cluster{client: client, namespace: "weir-system"}
	for _, row := range []struct {
		nodes           []string
		agents, missing string
	}{
		{nil, "a b", "c: pod w-c is failed; d: pod w-d serves no viewers; install weir with viewers.enabled; e: no pod of weir-agent is on this node"},
		{[]string{"a"}, "a", ""},
		{[]string{"e", "x"}, "", "e: no pod of weir-agent is on this node; x: no pod of weir-agent is on this node"},
	} {
		agents, missing, err := c.Agents(t.Context(), row.nodes, []string{"shop"})
		if err != nil {
			t.Fatal(err)
		}
		var names, not []string
		for _, a := range agents {
			names = append(names, a.Node)
		}
		for _, m := range missing {
			not = append(not, m.Node+": "+m.Err.Error())
		}
		if got := strings.Join(names, " "); got != row.agents || strings.Join(not, "; ") != row.missing {
			t.Errorf("%v: agents %q, missing %q", row.nodes, got, not)
		}
	}
	if got := asked(); len(got) != 4 || got[0] != "shop/weir-viewer weir.dev token" || got[1] != "weir-system/weir-viewer weir.dev token" {
		t.Errorf("asked for %q", got)
	}
}

func TestNoAgents(t *testing.T) {
	forbidden := func(verb, resource string) *Cluster {
		client := fake.NewClientset(pod("w", "a", corev1.PodRunning, "1"))
		client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
		})
		return &Cluster{client: client, namespace: "weir-system"}
	}
	for _, row := range []struct {
		cluster *Cluster
		says    string
	}{
		{&Cluster{client: fake.NewClientset(), namespace: "other"}, "--agent-namespace"},
		{forbidden("list", "pods"), "right to list pods"},
		{forbidden("create", "serviceaccounts"), "create on serviceaccounts/token"},
	} {
		if _, _, err := row.cluster.Agents(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%v, want %q", err, row.says)
		}
	}
}

// A token is used until four fifths of its life are over, or it is refused.
func TestToken(t *testing.T) {
	client := fake.NewClientset()
	tokens(client, "shop")
	token := newToken(client, []string{"shop", "", "shop", "weir-system"})
	now := time.Unix(0, 0)
	token.now = func() time.Time { return now }
	look := func(want string) {
		t.Helper()
		if got, err := token.get(t.Context()); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	look("token-shop-1")
	now = now.Add(7 * time.Minute)
	look("token-shop-1")
	now = now.Add(2 * time.Minute)
	look("token-shop-2")
	token.forget()
	look("token-shop-3")
	if _, err := newToken(client, []string{"other"}).get(t.Context()); !errors.Is(err, ErrNoViewer) {
		t.Error(err)
	}
}

// apiServer forwards ports as an API server and its kubelet do, by SPDY, and
// refuses WebSockets as old ones do.
func apiServer(t *testing.T, listens string) *Cluster {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/base/api/v1/namespaces/weir-system/pods/w-a/portforward" || r.Header.Get("Authorization") != "Bearer of-the-user" {
			http.Error(w, "no "+r.URL.Path, http.StatusForbidden)
			return
		}
		if r.Method != http.MethodPost {
			http.Error(w, "no WebSockets", http.StatusBadRequest)
			return
		}
		w.Header().Set(httpstream.HeaderProtocolVersion, "portforward.k8s.io")
		streams := make(chan httpstream.Stream, 2)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error { streams <- s; return nil })
		if conn == nil {
			return
		}
		defer conn.Close()
		faults, data := <-streams, <-streams
		to, err := net.Dial("tcp", listens)
		if err != nil || data.Headers().Get(corev1.PortHeader) != "9966" {
			fmt.Fprint(faults, "nothing listens there")
			faults.Close()
			data.Close()
			<-conn.CloseChan()
			return
		}
		defer to.Close()
		go func() { _, _ = io.Copy(to, data); to.Close() }()
		_, _ = io.Copy(data, to)
	}))
	t.Cleanup(s.Close)
	return &Cluster{
		client: fake.NewClientset(pod("w-a", "a", corev1.PodRunning, "9966")), namespace: "weir-system",
		config: &rest.Config{Host: s.URL + "/base", BearerToken: "of-the-user"},
	}
}

func TestForward(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
		}
	}()
	defer l.Close()
	c := apiServer(t, l.Addr().String())
	for range 3 {
		conn, err := c.connect(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		sent := strings.Repeat("weir ", 100_000)
		go func() { _, _ = io.WriteString(conn, sent) }()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != sent {
			t.Fatalf("%d bytes came back: %v", len(got), err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestForwardFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	c := apiServer(t, closed.Addr().String())
	conn, err := c.connect(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "nothing listens there") {
		t.Errorf("the port is closed: %v", err)
	}
	conn.Close()
	c.config.BearerToken = "of nobody"
	if _, err := c.connect(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "pods/portforward") {
		t.Errorf("without the right: %v", err)
	}
	if _, err := c.connect(t.Context(), "b"); err == nil || !strings.Contains(err.Error(), "no pod") {
		t.Errorf("without a pod: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := c.connect(ctx, "a"); err == nil {
		conn.Close()
		t.Error("a call that is over connects")
	}
}
