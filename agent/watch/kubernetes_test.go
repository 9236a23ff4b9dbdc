// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/policy"
)

const thisNode = "n1"

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name)}
}

func apiNode() *corev1.Node { return &corev1.Node{ObjectMeta: metaOf("", thisNode)} }

func apiPod(name, uid, ip string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metaOf("shop", name), Spec: corev1.PodSpec{NodeName: thisNode}}
	p.UID = types.UID(uid)
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	return p
}

func apiPolicy(name, version string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metaOf("shop", name)}
	p.Spec.PodSelector.MatchLabels = map[string]string{"v": version}
	return p
}

func apiService(name, ip string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metaOf("shop", name)}
	s.Spec = corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}
	return s
}

func apiSlice(name, service string, port int32) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metaOf("shop", name), AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	s.Ports = []discoveryv1.EndpointPort{{Port: &port}}
	s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.9"}}}
	return s
}

// connect is the agent's own client.
func connect(t *testing.T, s *apiServer) kube.Cluster {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"http://" + s.address + "\"}}]\ncontexts: [{name: c, context: {cluster: c}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, err := kube.Connect(file, "weir-agent/test")
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func follow(t *testing.T, s *apiServer) (*session, *Kubernetes) {
	t.Helper()
	cluster := connect(t, s)
	k, err := NewKubernetes(KubernetesOptions{Client: cluster.Client, Server: cluster.Server, Node: thisNode, Backoff: 64 * time.Millisecond}, newSession(t).logger())
	if err != nil {
		t.Fatal(err)
	}
	session := newSession(t)
	session.run(k)
	return session, k
}

// state is all that was handed on, in one line. The caller holds the lock.
func (s *session) state() string {
	out := slices.Sorted(maps.Keys(s.spaces))
	for _, key := range slices.SortedFunc(maps.Keys(s.pods), compareKeys) {
		out = append(out, fmt.Sprintf("%s:%s%v", key.Name, s.pods[key].UID, s.pods[key].IPs))
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.services), compareKeys) {
		out = append(out, fmt.Sprintf("%s%v", key.Name, s.services[key].Ports[0].Backends))
	}
	return strings.Join(append(out, s.namesLocked()), " ")
}

func (s *session) untilState(want string) {
	s.t.Helper()
	s.until("state "+want, func() bool { return s.state() == want })
}

func TestKubernetesFirstBatchHoldsEverything(t *testing.T) {
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("streaming lists %v", streams), func(t *testing.T) {
			server := newAPIServer(t)
			server.set(func() { server.streams = streams })
			server.put(apiNode(), &corev1.Namespace{ObjectMeta: metaOf("", "shop")}, apiPod("web", "u1", "10.0.0.1"), apiPod("db", "u2", ""),
				apiPolicy("p", "1"), apiService("web", "10.96.0.1"), apiSlice("web-x", "web", 8080))
			s, k := follow(t, server)
			s.untilState("shop db:u2[] web:u1[10.0.0.1] web[10.0.0.9:8080] p=1")
			s.mu.Lock()
			if len(s.batches) != 1 || !s.batches[0].Synced {
				t.Errorf("%d batches before everything was there", len(s.batches))
			}
			s.mu.Unlock()
			if err := k.Health(); err != nil {
				t.Errorf("health: %v", err)
			}
			if c := k.Connection(); c.Err != nil || c.LastEvent.IsZero() || c.Since.IsZero() {
				t.Errorf("connection: %+v", c)
			}
			checkRequests(t, server, streams)
		})
	}
}

// checkRequests: protobuf, the agent's name, one Node alone, and no list where
// the server streams.
func checkRequests(t *testing.T, server *apiServer, streams bool) {
	server.mu.Lock()
	defer server.mu.Unlock()
	lists := 0
	for _, asked := range server.asked {
		if !strings.Contains(asked, " application/vnd.kubernetes.protobuf") || !strings.HasSuffix(asked, " weir-agent/test") {
			t.Errorf("asked without protobuf or name: %s", asked)
		}
		if strings.Contains(asked, "/nodes") && !strings.Contains(asked, "fieldSelector=metadata.name%3D"+thisNode) {
			t.Errorf("asked for all nodes: %s", asked)
		}
		if !strings.Contains(asked, "watch=true") {
			lists++
		}
	}
	if want := map[bool]int{true: 0, false: 6}[streams]; lists != want {
		t.Errorf("%d lists, want %d: %v", lists, want, server.asked)
	}
}

func TestKubernetesFollows(t *testing.T) {
	server := newAPIServer(t)
	server.put(apiNode(), &corev1.Namespace{ObjectMeta: metaOf("", "shop")}, apiPolicy("p", "1"))
	s, _ := follow(t, server)
	s.untilState("shop p=1")
	for _, step := range []struct {
		put, remove []runtime.Object
		want        string
	}{
		{[]runtime.Object{apiPolicy("p", "2"), apiPolicy("q", "1")}, nil, "shop p=2 q=1"},
		{[]runtime.Object{apiPod("web", "u1", "")}, nil, "shop web:u1[] p=2 q=1"},
		{[]runtime.Object{apiPod("web", "u1", "10.0.0.1")}, nil, "shop web:u1[10.0.0.1] p=2 q=1"},
		// The address goes from one pod to the next.
		{[]runtime.Object{apiPod("db", "u2", "10.0.0.1")}, []runtime.Object{apiPod("web", "u1", "10.0.0.1")}, "shop db:u2[10.0.0.1] p=2 q=1"},
		{nil, []runtime.Object{apiPolicy("p", "2")}, "shop db:u2[10.0.0.1] q=1"},
		{[]runtime.Object{apiSlice("s", "web", 8080)}, nil, "shop db:u2[10.0.0.1] q=1"},
		{[]runtime.Object{apiService("web", "10.96.0.1")}, nil, "shop db:u2[10.0.0.1] web[10.0.0.9:8080] q=1"},
		{[]runtime.Object{apiSlice("s", "other", 8080)}, nil, "shop db:u2[10.0.0.1] web[] q=1"},
		{[]runtime.Object{apiSlice("s", "web", 9090)}, nil, "shop db:u2[10.0.0.1] web[10.0.0.9:9090] q=1"},
		{nil, []runtime.Object{apiSlice("s", "web", 9090)}, "shop db:u2[10.0.0.1] web[] q=1"},
		{nil, []runtime.Object{apiService("web", ""), apiPolicy("q", "")}, "shop db:u2[10.0.0.1] "},
		{nil, []runtime.Object{&corev1.Namespace{ObjectMeta: metaOf("", "shop")}, apiPod("db", "", "")}, ""},
	} {
		server.put(step.put...)
		server.remove(step.remove...)
		s.untilState(step.want)
	}
}

func TestKubernetesWithTheLibrarysFake(t *testing.T) {
	client := fake.NewClientset(apiNode(), apiPolicy("p", "1"))
	k, err := NewKubernetes(KubernetesOptions{Client: client, Server: "fake", Node: thisNode, Jitter: time.Millisecond}, newSession(t).logger())
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t)
	s.run(k)
	s.untilState("p=1")
}

// What changed while the server was away holds once it is back, whether the
// server still knows the history or not.
func TestKubernetesServerAway(t *testing.T) {
	for _, row := range []struct {
		name string
		away func(*apiServer)
		back func(*apiServer)
	}{
		{"stopped", (*apiServer).stop, (*apiServer).start},
		{"stopped, history lost", (*apiServer).stop, func(s *apiServer) { s.forget(); s.start() }},
		{"stopped, no streaming lists after", (*apiServer).stop, func(s *apiServer) { s.forget(); s.set(func() { s.streams = false }); s.start() }},
		{"overloaded", fails(http.StatusTooManyRequests), fails(0)},
		{"internal errors", fails(http.StatusInternalServerError), fails(0)},
		{"rights lost", fails(http.StatusForbidden), fails(0)},
		{"token expired", fails(http.StatusUnauthorized), func(s *apiServer) { s.forget(); fails(0)(s) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := newAPIServer(t)
			server.put(apiNode(), apiPod("web", "u1", "10.0.0.1"), apiPod("db", "u2", "10.0.0.2"), apiPolicy("p", "1"), apiPolicy("q", "1"))
			s, k := follow(t, server)
			s.untilState("db:u2[10.0.0.2] web:u1[10.0.0.1] p=1 q=1")
			row.away(server)
			s.until("the loss is told", func() bool { return k.Connection().Err != nil })
			if err := k.Connection().Err; !strings.Contains(err.Error(), "cannot be watched at http://"+server.address+" since ") {
				t.Errorf("told as %v", err)
			}
			if err := k.Health(); err != nil {
				t.Errorf("health while the server is away: %v", err)
			}
			server.remove(apiPod("web", "u1", "10.0.0.1"), apiPod("db", "u2", "10.0.0.2"), apiPolicy("q", "1"))
			server.put(apiPod("web", "u3", "10.0.0.3"), apiPolicy("p", "2"), apiPolicy("r", "1"))
			if got := s.batchCount(); got != 1 {
				t.Errorf("%d batches from a server that is away", got)
			}
			row.back(server)
			s.untilState("web:u3[10.0.0.3] p=2 r=1")
			s.until("the return is told", func() bool { return k.Connection().Err == nil })
		})
	}
}

func fails(status int) func(*apiServer) {
	return func(s *apiServer) {
		s.set(func() { s.refuse = status })
		s.endWatches()
	}
}

// Watches end every few minutes; that is no loss, and repeats nothing.
func TestKubernetesWatchesEnd(t *testing.T) {
	server := newAPIServer(t)
	server.put(apiNode(), apiPolicy("p", "1"))
	s, k := follow(t, server)
	s.untilState("p=1")
	for i := range 3 {
		// A watch that ends within a second and without an event is taken for
		// a broken one by the library, and asked for again after a pause.
		server.put(apiPolicy("p", fmt.Sprint(i+2)))
		s.untilState(fmt.Sprintf("p=%d", i+2))
		server.endWatches()
		if err := k.Connection().Err; err != nil {
			t.Errorf("told as lost: %v", err)
		}
	}
	server.put(apiPolicy("p", "9"))
	s.untilState("p=9")
	if got := s.batchCount(); got != 5 {
		t.Errorf("%d batches for 5 states", got)
	}
}

func TestKubernetesBeforeTheFirstLists(t *testing.T) {
	server := newAPIServer(t)
	server.put(apiNode(), apiPolicy("p", "1"))
	server.set(func() { server.mute["pods"] = struct{}{} })
	s, k := follow(t, server)
	s.until("all but pods", func() bool { return slices.Equal(k.desk.unlisted(), []string{"Pods"}) })
	if got := s.batchCount(); got != 0 {
		t.Errorf("%d batches before the pods are known", got)
	}
	if err := k.Health(); err == nil || !strings.Contains(err.Error(), "Pods cannot be watched") {
		t.Errorf("health %v", err)
	}
	server.set(func() { delete(server.mute, "pods") })
	server.stop()
	s.until("refusal is told", func() bool { return strings.Contains(fmt.Sprint(k.Health()), "connection refused") })
	server.start()
	s.untilState("p=1")
	if err := k.Health(); err != nil {
		t.Errorf("health %v", err)
	}
}

func TestKubernetesEndsWhileTheServerIsAway(t *testing.T) {
	server := newAPIServer(t)
	server.stop()
	cluster := connect(t, server)
	k, err := NewKubernetes(KubernetesOptions{Client: cluster.Client, Server: cluster.Server, Node: thisNode, Backoff: time.Hour}, newSession(t).logger())
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t)
	s.run(k)
	s.until("tried", func() bool { return strings.Contains(fmt.Sprint(k.Health()), "connection refused") })
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > patience {
		t.Errorf("ending took %s", took)
	}
}

func TestKubernetesNodeIsUnknown(t *testing.T) {
	server := newAPIServer(t)
	other := apiNode()
	other.Name = "n2"
	server.put(other, apiPolicy("p", "1"))
	s, k := follow(t, server)
	s.untilState("p=1")
	if err := k.Health(); err == nil || !strings.Contains(err.Error(), "Node n1: the cluster has no Node of this name") {
		t.Errorf("health %v", err)
	}
	server.put(apiNode())
	s.until("the Node is there", func() bool { return k.Health() == nil })
	server.remove(apiNode())
	s.until("the Node is gone", func() bool { return k.Health() != nil })
}

func TestKubernetesUnusablePolicies(t *testing.T) {
	server := newAPIServer(t)
	part := apiPolicy("part", "1")
	part.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/33"}}}}}
	whole := apiPolicy("whole", "2")
	whole.Spec.PolicyTypes = []networkingv1.PolicyType{"Sideways"}
	server.put(apiNode(), part, apiPolicy("whole", "1"))
	s, k := follow(t, server)
	s.untilState("part=1 whole=1")
	s.untilProblem(`NetworkPolicy shop/part: spec.ingress[0].from[0]: ipBlock.cidr: "10.0.0.0/33"`)
	if r := s.policies[policy.ObjectKey{Namespace: "shop", Name: "part"}].Rules[policy.Ingress][0]; r.AnyPeer || len(r.Peers) > 0 {
		t.Errorf("the rule without its peer allows %+v", r)
	}
	server.put(whole)
	s.untilProblem("NetworkPolicy shop/whole: spec.policyTypes[0]")
	s.untilProblem("its last good version stays in force")
	if s.names() != "part=1 whole=1" || k.Health() != nil {
		t.Errorf("in force %s, health %v", s.names(), k.Health())
	}
	server.remove(whole)
	s.untilState("part=1")
	server.put(whole)
	s.untilProblem("nothing is in force for it")
	if err := k.Health(); err == nil || !strings.Contains(err.Error(), "shop/whole") {
		t.Errorf("health %v", err)
	}
	server.put(apiPolicy("part", "3"), apiPolicy("whole", "3"))
	s.untilState("part=3 whole=3")
	s.until("no problem", func() bool { return len(k.Problems()) == 0 && k.Health() == nil })
}

func TestKubernetesOptionsAreChecked(t *testing.T) {
	_, err := NewKubernetes(KubernetesOptions{Gather: -1, Jitter: -1, Backoff: -1}, newSession(t).logger())
	for _, part := range []string{"client", "node", "gathering", "jitter", "backoff"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

// From the server's event to the batch; the server is in this process.
func TestKubernetesLatency(t *testing.T) {
	server := newAPIServer(t)
	server.put(apiNode())
	s, _ := follow(t, server)
	s.until("synced", func() bool { return s.synced })
	var took []time.Duration
	for i := range 50 {
		begun := time.Now()
		server.put(apiPolicy("p", fmt.Sprint(i)))
		s.untilNames(fmt.Sprintf("p=%d", i))
		s.mu.Lock()
		took = append(took, s.arrived[len(s.arrived)-1].Sub(begun))
		s.mu.Unlock()
	}
	slices.Sort(took)
	t.Logf("from a change at the server to the batch: median %s, worst of %d %s", took[len(took)/2], len(took), took[len(took)-1])
	if took[len(took)/2] > 100*time.Millisecond {
		t.Errorf("the median is %s", took[len(took)/2])
	}
}
