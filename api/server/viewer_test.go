// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirnet/weir/api/client"
	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// gate knows tokens, and which namespaces their bearers may see; "" is all.
type gate struct {
	mu     sync.Mutex
	may    map[string][]string
	broken error
}

func (g *gate) Viewer(_ context.Context, token string) (server.Viewer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return nil, fmt.Errorf("%w: %w", server.ErrUnavailable, g.broken)
	}
	if _, ok := g.may[token]; !ok {
		return nil, fmt.Errorf("%w: expired", server.ErrUnauthenticated)
	}
	return bearer{g, token}, nil
}

func (g *gate) set(token string, may ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if delete(g.may, token); may != nil {
		g.may[token] = may
	}
}

type bearer struct {
	*gate
	token string
}

func (b bearer) Name() string { return b.token }
func (b bearer) Home() string { return strings.TrimPrefix(b.token, "home-") }
func (b bearer) May(_ context.Context, namespace string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.may[b.token], namespace), b.broken
}

// network serves viewers on a real TCP port, and returns what dials it with a
// token.
func network(t *testing.T, g *gate, a *agent, review time.Duration, list ...*flows.Flow) func(token string) *client.Client {
	t.Helper()
	store, err := flows.NewStore(1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		store.Add(f)
	}
	o := server.Defaults()
	o.Node, o.Flows, o.Policies, o.Explainer, o.State, o.Announcer = "n1", store, a, a, a, a
	o.Gate, o.ReviewEvery = g, review
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.RunViewers(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(token string) *client.Client {
		o := client.Defaults()
		o.Name = "node n1"
		o.Connect = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
		}
		if token != "" {
			o.Token = func(context.Context) (string, error) { return token, nil }
		}
		c, err := client.Dial(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func podPeer(namespace, name string) flows.Peer {
	return flows.Peer{Identity: flows.PodIdentity, Pod: &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: namespace, Name: name}, Labels: map[string]string{"of": namespace}}}
}

func viewedFlows() []*flows.Flow {
	rule := &policy.RuleRef{Policy: policy.ObjectKey{Namespace: "data", Name: "secret-policy"}}
	return []*flows.Flow{
		{ID: 1, Source: podPeer("shop", "web"), Destination: podPeer("shop", "db"), Verdict: flows.Allowed},
		{ID: 2, Source: podPeer("shop", "web"), Destination: podPeer("data", "db"), Verdict: flows.Allowed, Rule: rule, Interface: "veth-data"},
		{ID: 3, Source: podPeer("data", "a"), Destination: podPeer("data", "db"), Verdict: flows.Allowed, Rule: rule},
		{ID: 4, Source: flows.Peer{}, Destination: flows.Peer{}, Verdict: flows.Allowed},
	}
}

func TestViewers(t *testing.T) {
	g := &gate{may: map[string][]string{"home-shop": {"shop"}, "home-data": {"data"}, "all": {""}, "home-none": {}, "both": {"shop", "data"}}}
	a := &agent{policies: []server.PolicyState{{Key: policy.ObjectKey{Namespace: "shop", Name: "p"}}, {Key: policy.ObjectKey{Namespace: "data", Name: "p"}}},
		endpoints: []server.Endpoint{{Pod: policy.ObjectKey{Namespace: "shop", Name: "web"}}, {Pod: policy.ObjectKey{Namespace: "data", Name: "db"}}, {Interface: "eth9"}}}
	dial := network(t, g, a, time.Minute, viewedFlows()...)
	for _, row := range []struct {
		token, namespace string
		flows            string
		code             codes.Code
		policies, ends   int
	}{
		{"", "", "", codes.Unauthenticated, 0, 0},
		{"forged", "", "", codes.Unauthenticated, 0, 0},
		{"home-none", "", "", codes.PermissionDenied, 0, 0},
		{"home-none", "shop", "", codes.PermissionDenied, 0, 0},
		{"both", "", "", codes.PermissionDenied, 0, 0}, // it has no home and names none
		{"home-shop", "", "12", codes.OK, 1, 1},
		{"home-shop", "data", "2", codes.OK, 1, 1},
		{"home-data", "", "23", codes.OK, 1, 1},
		{"all", "", "1234", codes.OK, 2, 3},
		{"all", "data", "23", codes.OK, 2, 3},
	} {
		c := dial(row.token)
		var filter *weirv1.FlowFilter
		if row.namespace != "" {
			filter = &weirv1.FlowFilter{Namespaces: []string{row.namespace}}
		}
		what := fmt.Sprintf("%q about %q", row.token, row.namespace)
		page, err := c.Flows.List(t.Context(), &weirv1.ListRequest{Filter: filter})
		if status.Code(err) != row.code {
			t.Errorf("%s: %v, want %s", what, err, row.code)
		}
		sum, _ := c.Flows.Summarize(t.Context(), &weirv1.SummarizeRequest{Filter: filter})
		if got := ids(page.GetFlows()); got != row.flows || int(sum.GetTotal().GetFlows()) != len(row.flows) {
			t.Errorf("%s: flows %q and a count of %d, want %q", what, got, sum.GetTotal().GetFlows(), row.flows)
		}
		if row.namespace == "" {
			policies, _ := c.Policies.List(t.Context(), &weirv1.ListPoliciesRequest{})
			endpoints, _ := c.Agent.Endpoints(t.Context(), &weirv1.EndpointsRequest{})
			if len(policies.GetPolicies()) != row.policies || len(endpoints.GetEndpoints()) != row.ends {
				t.Errorf("%s: policies %v, endpoints %v", what, policies.GetPolicies(), endpoints.GetEndpoints())
			}
		}
		_, err = c.Agent.Retract(t.Context(), &weirv1.RetractRequest{Namespace: "a", Name: "b"})
		if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unauthenticated {
			t.Errorf("%s takes an announcement back: %v", what, err)
		}
	}
	for _, get := range []func(*client.Client) error{
		func(c *client.Client) error {
			_, err := c.Policies.Get(t.Context(), &weirv1.GetPolicyRequest{Namespace: "data", Name: "p"})
			return err
		},
		func(c *client.Client) error {
			_, err := c.Policies.Explain(t.Context(), &weirv1.ExplainRequest{Source: "shop/web", Destination: "data/db", Protocol: 6})
			return err
		},
		func(c *client.Client) error {
			_, err := c.Policies.Stats(t.Context(), &weirv1.StatsRequest{Namespace: "data"})
			return err
		},
	} {
		if err := get(dial("home-shop")); status.Code(err) != codes.PermissionDenied {
			t.Errorf("of another namespace: %v", err)
		}
		if err := get(dial("all")); err != nil {
			t.Error(err)
		}
	}
}

func ids(list []*weirv1.Flow) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprint(&b, f.GetId())
	}
	return b.String()
}

// What belongs to another namespace is not told, and cannot be asked for.
func TestViewerSeesNoOther(t *testing.T) {
	g := &gate{may: map[string][]string{"home-shop": {"shop"}}}
	c := network(t, g, &agent{}, time.Minute, viewedFlows()...)("home-shop")
	page, err := c.Flows.List(t.Context(), &weirv1.ListRequest{Filter: &weirv1.FlowFilter{Ids: []uint64{2}}})
	if err != nil || len(page.GetFlows()) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	f := page.GetFlows()[0]
	if f.GetRule() != nil || f.GetInterface() != "" || f.GetDestination().GetLabels() != nil || f.GetDestination().GetName() != "db" || f.GetSource().GetLabels()["of"] != "shop" {
		t.Errorf("shown: %v", f)
	}
	for _, filter := range []*weirv1.FlowFilter{
		{Policies: []string{"data/secret-policy"}}, {Interfaces: []string{"veth-data"}},
		{Destination: &weirv1.PeerFilter{Labels: []string{"of=data"}}}, {Ids: []uint64{3}}, {Ids: []uint64{4}},
	} {
		page, err := c.Flows.List(t.Context(), &weirv1.ListRequest{Filter: filter})
		if err != nil || len(page.GetFlows()) != 0 {
			t.Errorf("%v tells %v, %v", filter, page.GetFlows(), err)
		}
	}
	s, err := c.Agent.Status(t.Context(), &weirv1.StatusRequest{})
	if err != nil || s.GetNode() != "n1" {
		t.Errorf("%v, %v", s, err)
	}
}

// A stream ends when its token does, when rights change, and when nobody can
// tell; else it goes on.
func TestViewerIsReviewed(t *testing.T) {
	for _, row := range []struct {
		what   string
		change func(*gate)
		code   codes.Code
	}{
		{"the token ends", func(g *gate) { g.set("home-shop") }, codes.Unauthenticated},
		{"the right is gone", func(g *gate) { g.set("home-shop", "elsewhere") }, codes.PermissionDenied},
		{"all is allowed", func(g *gate) { g.set("home-shop", "") }, codes.Unavailable},
		{"the API server is away", func(g *gate) { g.mu.Lock(); g.broken = context.DeadlineExceeded; g.mu.Unlock() }, codes.Unavailable},
	} {
		g := &gate{may: map[string][]string{"home-shop": {"shop"}}}
		c := network(t, g, &agent{}, 20*time.Millisecond)("home-shop")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		stream, err := c.Flows.Watch(ctx, &weirv1.WatchRequest{Follow: true})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatalf("%s: %v", row.what, err)
		}
		row.change(g)
		_, err = stream.Recv()
		if status.Code(err) != row.code || ctx.Err() != nil {
			t.Errorf("%s: %v, want %s", row.what, err, row.code)
		}
		cancel()
	}
}

// One viewer cannot take all the places, and those that end are free again.
func TestViewersAreLimited(t *testing.T) {
	g := &gate{may: map[string][]string{"home-shop": {"shop"}, "all": {""}}}
	dial := network(t, g, &agent{}, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	open := func(c *client.Client) error {
		stream, err := c.Flows.Watch(ctx, &weirv1.WatchRequest{Follow: true})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for i := range 32 {
		if err := open(dial("home-shop")); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if err := open(dial("home-shop")); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	if err := open(dial("all")); err != nil {
		t.Errorf("another viewer: %v", err)
	}
	cancel()
	c := dial("home-shop")
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := c.Flows.List(t.Context(), &weirv1.ListRequest{})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("places are not free again: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestListenLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":9966", "192.0.2.1:9966", "localhost:9966", "127.0.0.1"} {
		if l, err := server.ListenLoopback(address); err == nil {
			l.Close()
			t.Errorf("%s is taken", address)
		}
	}
}
