// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

func TestPoliciesAreSorted(t *testing.T) {
	r := start(t)
	r.agent.policies = []server.PolicyState{
		{Key: key("b", "a")},
		{Key: key("a", "z"), Isolates: [2]bool{true, false}, Pods: []policy.ObjectKey{key("a", "web")}, Rules: []server.RuleState{{Text: "from any"}}},
		{Key: key("a", "b")},
	}
	got, err := r.Client.Policies.List(limited(t), &weirv1.ListPoliciesRequest{Namespace: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got.Policies {
		names = append(names, p.Ref.Namespace+"/"+p.Ref.Name)
	}
	if fmt.Sprint(names) != "[a/b a/z b/a]" || fmt.Sprint(r.agent.asked) != `[policies of "x"]` {
		t.Errorf("names %v, asked %v", names, r.agent.asked)
	}
	if z := got.Policies[1]; !z.IsolatesIngress || z.IsolatesEgress || z.Pods[0] != "a/web" || z.Rules[0].Text != "from any" {
		t.Errorf("policy %v", z)
	}
	if r.agent.policies[0].Key.Namespace != "b" {
		t.Error("the agent's own slice was sorted")
	}
}

func TestExplainReadsItsQuestion(t *testing.T) {
	r := start(t)
	r.agent.answer = server.Explanation{Verdict: flows.Allowed}
	got, err := r.Client.Policies.Explain(limited(t), &weirv1.ExplainRequest{Source: "shop/web", Destination: "::ffff:10.0.0.1", Protocol: 6, Port: 443})
	if err != nil || got.Verdict != weirv1.Verdict_VERDICT_ALLOWED {
		t.Fatal(got, err)
	}
	want := server.Question{Source: server.End{Pod: key("shop", "web")}, Destination: server.End{Addr: netip.MustParseAddr("10.0.0.1")}, Protocol: 6, Port: 443}
	if asked := r.agent.asked[0]; asked != fmt.Sprintf("explain %+v", want) {
		t.Errorf("asked %s", asked)
	}
	for _, row := range []struct {
		req  *weirv1.ExplainRequest
		says string
	}{
		{&weirv1.ExplainRequest{Source: "web", Destination: "a/b", Protocol: 6}, `source: "web" is not "namespace/name" of a pod, nor an address`},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "", Protocol: 6}, `destination: ""`},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "a/b/c", Protocol: 6}, `destination: "a/b/c"`},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "10.0.0.0/24", Protocol: 6}, `"10.0.0.0/24" is a block`},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "fe80::1%eth0", Protocol: 6}, `destination: "fe80::1%eth0"`},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "a/c"}, "protocol: 0"},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "a/c", Protocol: 256}, "protocol: 256"},
		{&weirv1.ExplainRequest{Source: "a/b", Destination: "a/c", Protocol: 6, Port: 65536}, "port: 65536"},
	} {
		_, err := r.Client.Policies.Explain(limited(t), row.req)
		wantError(t, row.req.String(), err, codes.InvalidArgument, row.says)
	}
}

func TestStatusAndEndpoints(t *testing.T) {
	r := start(t)
	r.agent.endpoints = []server.Endpoint{
		{Interface: "veth2", Pod: key("b", "x")},
		{Interface: "veth1", Pod: key("a", "x"), IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, State: "enforced", SetEgress: 4, EgressPolicies: []policy.ObjectKey{key("a", "p")}},
		{Interface: "veth0"},
	}
	sub := r.store.Subscribe(nil, 0)
	defer sub.Close()
	got, err := r.Agent.Status(limited(t), &weirv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Node != "n1" || !got.Ready || got.RunId != "run-1" || got.Subscribers != 1 || got.EndpointsByState["enforced"] != 2 || got.Started != nil {
		t.Errorf("status %v", got)
	}
	list, err := r.Agent.Endpoints(limited(t), &weirv1.EndpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Endpoints) != 3 || list.Endpoints[0].Interface != "veth0" || list.Endpoints[1].Interface != "veth1" || list.Endpoints[2].Interface != "veth2" {
		t.Fatalf("endpoints %v", list)
	}
	if e := list.Endpoints[1]; e.Pod != "x" || e.Ips[0] != "10.0.0.1" || e.State != "enforced" || e.SetEgress != 4 || e.EgressPolicies[0].Name != "p" {
		t.Errorf("endpoint %v", e)
	}
}

func TestAnnounce(t *testing.T) {
	r := start(t)
	good := func(change func(*weirv1.AnnounceRequest)) *weirv1.AnnounceRequest {
		req := &weirv1.AnnounceRequest{Namespace: "shop", Name: "web", Uid: "u", Ips: []string{"10.0.0.1", "fd00::1"}, Interface: "veth1"}
		change(req)
		return req
	}
	got, err := r.Agent.Announce(limited(t), good(func(*weirv1.AnnounceRequest) {}))
	if err != nil || got.State != "enforced" {
		t.Fatal(got, err)
	}
	want := server.Announcement{Pod: key("shop", "web"), UID: "u", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Interface: "veth1"}
	if r.agent.asked[0] != fmt.Sprintf("announce %+v", want) {
		t.Errorf("asked %s", r.agent.asked[0])
	}
	for _, row := range []struct {
		change func(*weirv1.AnnounceRequest)
		says   string
	}{
		{func(a *weirv1.AnnounceRequest) { a.Namespace = "" }, "namespace or name is absent"},
		{func(a *weirv1.AnnounceRequest) { a.Name = "" }, "namespace or name is absent"},
		{func(a *weirv1.AnnounceRequest) { a.Interface = "" }, `interface: ""`},
		{func(a *weirv1.AnnounceRequest) { a.Interface = "a/b" }, `interface: "a/b"`},
		{func(a *weirv1.AnnounceRequest) { a.Interface = "sixteen-bytes-ab" }, "interface"},
		{func(a *weirv1.AnnounceRequest) { a.Ips = nil }, "ips: none"},
		{func(a *weirv1.AnnounceRequest) { a.Ips[1] = "fd00::/64" }, `ips[1]: "fd00::/64"`},
		{func(a *weirv1.AnnounceRequest) { a.Ips[0] = "0.0.0.0" }, `ips[0]: "0.0.0.0"`},
		{func(a *weirv1.AnnounceRequest) { a.Ips[0] = "127.0.0.1" }, "ips[0]"},
		{func(a *weirv1.AnnounceRequest) { a.Ips[0] = "224.0.0.1" }, "ips[0]"},
	} {
		_, err := r.Agent.Announce(limited(t), good(row.change))
		wantError(t, row.says, err, codes.InvalidArgument, row.says)
	}
	if _, err := r.Agent.Retract(limited(t), &weirv1.RetractRequest{Namespace: "shop", Name: "web", Uid: "u"}); err != nil {
		t.Error(err)
	}
	if last := r.agent.asked[len(r.agent.asked)-1]; last != "retract shop/web u" || len(r.agent.asked) != 2 {
		t.Errorf("asked %v", r.agent.asked)
	}
	_, err = r.Agent.Retract(limited(t), &weirv1.RetractRequest{Namespace: "shop"})
	wantError(t, "retract without a name", err, codes.InvalidArgument)
}

// The mode of the socket is what lets an announcement in; a TCP port has none.
func TestAnnounceNeedsTheUnixSocket(t *testing.T) {
	store, err := flows.NewStore(flows.MinCapacity)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{}
	o := server.Defaults()
	o.Flows, o.Policies, o.Explainer, o.State, o.Announcer = store, a, a, a, a
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	defer func() { cancel(); <-ended }()
	conn := overTCP(t, l.Addr().String())
	_, err = weirv1.NewAgentClient(conn).Announce(limited(t), &weirv1.AnnounceRequest{Namespace: "a", Name: "b", Ips: []string{"10.0.0.1"}, Interface: "v"})
	wantError(t, "announce", err, codes.PermissionDenied, "Unix socket only")
	_, err = weirv1.NewAgentClient(conn).Retract(limited(t), &weirv1.RetractRequest{Namespace: "a", Name: "b"})
	wantError(t, "retract", err, codes.PermissionDenied, "Unix socket only")
	if _, err := weirv1.NewAgentClient(conn).Status(limited(t), &weirv1.StatusRequest{}); err != nil {
		t.Errorf("status: %v", err)
	}
	if len(a.asked) != 1 {
		t.Errorf("asked %v", a.asked)
	}
}

func TestNoAnnouncer(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Announcer = nil })
	_, err := r.Agent.Announce(limited(t), &weirv1.AnnounceRequest{})
	wantError(t, "announce", err, codes.Unimplemented, "takes no announcements")
}

func overTCP(t *testing.T, addr string) grpc.ClientConnInterface {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
