// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirnet/weir/api/client"
	"github.com/weirnet/weir/api/server"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unasked is all of an agent but its flows; no test calls it.
type unasked struct {
	server.PolicyReader
	server.Explainer
	server.StateReader
}

// serve is the agent's own server over a store of flows, and a client of it.
func serve(t *testing.T, list []*flows.Flow) *client.Client {
	t.Helper()
	store, err := flows.NewStore(flows.MinCapacity)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		store.Add(f)
	}
	o := server.Defaults()
	o.Node, o.Flows, o.Policies, o.Explainer, o.State = "n1", store, unasked{}, unasked{}, unasked{}
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	options := client.Defaults()
	options.Socket = socket
	c, err := client.Dial(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// watched is what the agent tells of its kept flows.
func watched(t *testing.T, c *client.Client, req *pb.WatchRequest) []*pb.Flow {
	t.Helper()
	stream, err := c.Flows.Watch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var list []*pb.Flow
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%v: %v", req, err)
		}
		list = append(list, r.GetFlows()...)
	}
}

// chance makes flows and filters out of few values, so that they often meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, values ...T) T { return values[c.IntN(len(values))] }

// some is one or two of the values, or often none.
func some[T any](c chance, values ...T) []T {
	switch c.IntN(6) {
	case 0:
		return []T{pick(c, values...)}
	case 1:
		return []T{pick(c, values...), pick(c, values...)}
	}
	return nil
}

func (c chance) peer() flows.Peer {
	p := flows.Peer{Addr: netip.MustParseAddr(pick(c, "10.0.0.1", "10.1.0.1", "fd00::1")), Port: pick[uint16](c, 0, 53, 443)}
	key := policy.ObjectKey{Namespace: pick(c, "a", "b"), Name: pick(c, "x", "y")}
	switch c.IntN(6) {
	case 0:
		return flows.Peer{}
	case 1:
		p.Identity, p.Service = flows.ServiceIdentity, &policy.Service{ObjectKey: key}
	case 2:
		p.Identity = pick(c, flows.NodeIdentity, flows.World, flows.PodIdentity, flows.ServiceIdentity)
	case 3, 4, 5:
		p.Identity, p.Pod = flows.PodIdentity, &policy.Pod{ObjectKey: key, Labels: map[string]string{"app": pick(c, "x", "y")}}
		if c.IntN(2) == 0 {
			p.Pod.Workload = policy.Workload{Kind: pick(c, "Deployment", "Job"), Name: pick(c, "x", "y")}
		}
	}
	return p
}

func (c chance) rule() policy.RuleRef {
	return policy.RuleRef{Policy: policy.ObjectKey{Namespace: pick(c, "a", "b"), Name: pick(c, "p", "q")}, Direction: pick(c, policy.Ingress, policy.Egress), Index: c.IntN(2)}
}

func (c chance) flow(n int) *flows.Flow {
	f := &flows.Flow{
		Time: time.Unix(int64(n), 0), ID: uint64(c.IntN(3)), Kind: pick(c, flows.New, flows.Closed, flows.Active), Verdict: pick(c, flows.Denied, flows.Allowed, flows.Audited),
		Reason: flows.Reason(pick(c, 0, 1, 32)), Direction: pick(c, policy.Ingress, policy.Egress), Protocol: pick(c, policy.TCP, policy.UDP, 0),
		TCPFlags: uint8(c.IntN(32)), Reply: c.IntN(2) == 0, Source: c.peer(), Destination: c.peer(), Interface: pick(c, "", "v1", "v2"),
	}
	if c.IntN(3) == 0 {
		service := c.peer()
		f.Service = &service
	}
	if c.IntN(2) == 0 {
		rule := c.rule()
		f.Rule = &rule
	}
	for range c.IntN(3) {
		f.Isolating = append(f.Isolating, c.rule().Policy)
	}
	if f.Kind != flows.New {
		f.Totals = &flows.Totals{End: pick(c, 0, flows.EndFIN, flows.EndRST)}
	}
	return f
}

func (c chance) peerFilter() *pb.PeerFilter {
	if c.IntN(3) > 0 {
		return nil
	}
	p := &pb.PeerFilter{
		Pods: some(c, "x", "a/x", "b/y"), Namespaces: some(c, "a", "b"), Labels: some(c, "app=x", "app!=x", "!nope", "app in (x, y)"),
		Ips: some(c, "10.0.0.1", "10.0.0.0/8", "::ffff:10.1.0.1", "fd00::/16", "0.0.0.0/0"), Ports: some[uint32](c, 0, 53, 443), Services: some(c, "x", "a/y"),
		Workloads:  some(c, "x", "a/y", "a/job/x", "b/Deployment/y"),
		Identities: some(c, pb.Identity_IDENTITY_POD, pb.Identity_IDENTITY_NODE, pb.Identity_IDENTITY_SERVICE, pb.Identity_IDENTITY_WORLD),
	}
	if p.String() == "" {
		return nil
	}
	return p
}

func (c chance) filter() *pb.FlowFilter {
	f := &pb.FlowFilter{
		Pods: some(c, "x", "a/x"), Namespaces: some(c, "a", "b"), Ips: some(c, "10.0.0.1", "10.0.0.0/8"), Ports: some[uint32](c, 0, 53, 443), Protocols: some[uint32](c, 0, 6, 17),
		Verdicts: some(c, pb.Verdict_VERDICT_DENIED, pb.Verdict_VERDICT_ALLOWED), Policies: some(c, "p", "a/p", "b/q"),
		Source: c.peerFilter(), Destination: c.peerFilter(), Either: c.peerFilter(),
		Reasons: some(c, pb.Reason_REASON_UNKNOWN, pb.Reason_REASON_RULE, pb.Reason_REASON_NO_RULE), TcpFlags: some(c, &pb.TcpFlagFilter{Set: 2}, &pb.TcpFlagFilter{Set: 1, Unset: 16}),
		Directions: some(c, pb.Direction_DIRECTION_INGRESS, pb.Direction_DIRECTION_EGRESS), Kinds: some(c, pb.FlowKind_FLOW_KIND_NEW, pb.FlowKind_FLOW_KIND_CLOSED),
		Nodes: some(c, "n1", "n1", "n2"), Ids: some[uint64](c, 1, 2), EndReasons: some(c, pb.EndReason_END_REASON_FIN, pb.EndReason_END_REASON_RST), Interfaces: some(c, "v1", "v2"),
		Rules: some(c, &pb.RuleFilter{Policy: "p"}, &pb.RuleFilter{Policy: "a/q", Direction: pb.Direction_DIRECTION_INGRESS}, &pb.RuleFilter{Policy: "b/p", Index: new(uint32(1))}),
	}
	if c.IntN(4) == 0 {
		f.Reply = new(c.IntN(2) == 0)
	}
	return f
}

// loose leaves most fields of a filter out: with all of them nothing would
// ever pass.
func (c chance) loose() *pb.FlowFilter {
	f := c.filter()
	m := f.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if c.IntN(6) > 0 {
			m.Clear(fields.Get(i))
		}
	}
	if len(f.String()) == 0 {
		f.Ports = []uint32{443} // an empty one is refused in a list
	}
	return f
}

// The same filter passes the same flows in a recording as at the agent.
func TestFiltersMeanWhatTheyMeanToTheAgent(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := chance{rand.New(rand.NewPCG(seed, 1))}
	var list []*flows.Flow
	for n := range flows.MinCapacity {
		list = append(list, c.flow(n))
	}
	agent := serve(t, list)
	all := watched(t, agent, &pb.WatchRequest{})
	if len(all) != len(list) {
		t.Fatalf("%d flows of %d", len(all), len(list))
	}
	met := 0
	for range 400 {
		req := &pb.WatchRequest{Filter: c.loose()}
		switch c.IntN(4) {
		case 0:
			req.Include = []*pb.FlowFilter{c.loose(), c.loose()}
		case 1:
			req.Exclude = []*pb.FlowFilter{c.loose(), c.loose()}
		case 2:
			req.Since, req.Until = timestamppb.New(time.Unix(100, 0)), timestamppb.New(time.Unix(700, 0))
		}
		passes, err := Compile(req)
		if err != nil {
			t.Fatalf("%v: %v", req, err)
		}
		var want, got []uint64
		for _, f := range watched(t, agent, req) {
			want = append(want, f.GetSequence())
		}
		for _, f := range all {
			if passes(f) {
				got = append(got, f.GetSequence())
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v:\nrecording %d flows %v\nagent     %d flows %v", req, len(got), got, len(want), want)
		}
		if n := len(got); n > 0 && n < len(all) {
			met++
		}
	}
	if met < 100 {
		t.Errorf("only %d filters passed some flows and not all: this compares too little", met)
	}
}
