// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/kube"
)

// fakeCluster has an agent for each node, behind a socket in place of a
// forwarded port.
type fakeCluster struct {
	nodes   []string
	sockets map[string]string
	missing []kube.Missing
	err     error
	asked   struct{ nodes, viewers []string }
	tokens  atomic.Int32
}

func (f *fakeCluster) find(_ context.Context, _ kube.Options, nodes, viewers []string) ([]kube.Agent, []kube.Missing, error) {
	f.asked.nodes, f.asked.viewers = nodes, viewers
	var agents []kube.Agent
	for _, node := range f.nodes {
		if len(nodes) > 0 && !slices.Contains(nodes, node) {
			continue
		}
		agents = append(agents, kube.Agent{
			Node: node,
			Connect: func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", f.sockets[node])
			},
			Token:   func(context.Context) (string, error) { return "t", nil },
			Refused: func() { f.tokens.Add(1) },
		})
	}
	return agents, f.missing, f.err
}

func newFakeCluster(t *testing.T, agents map[string]*fakeAgent) (*fakeCluster, *terminal) {
	t.Helper()
	f := &fakeCluster{sockets: map[string]string{}}
	for node, a := range agents {
		f.nodes = append(f.nodes, node)
		f.sockets[node] = socketPath(t)
		if a != nil {
			a.serve(t, f.sockets[node])
		}
	}
	slices.Sort(f.nodes)
	term := newTerminal(nil)
	term.findAgents = f.find
	return f, term
}

// telling is an agent that tells flows at these seconds, and then a loss.
func telling(node string, lost uint64, seconds ...int64) *fakeAgent {
	return &fakeAgent{watch: func(_ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.WatchResponse]) error {
		r := &pb.WatchResponse{RunId: "r", Loss: &pb.Loss{Kernel: lost}}
		for i, at := range seconds {
			r.Flows = append(r.Flows, &pb.Flow{Node: node, Sequence: uint64(i + 1), Time: &timestamppb.Timestamp{Seconds: at}, Verdict: pb.Verdict_VERDICT_ALLOWED,
				Source: &pb.Peer{Ip: fmt.Sprint(node, at)}})
		}
		return s.Send(r)
	}}
}

func TestObserveCluster(t *testing.T) {
	f, term := newFakeCluster(t, map[string]*fakeAgent{"a": telling("a", 0, 1, 4, 5), "b": telling("b", 7, 2, 3, 9), "c": nil})
	f.missing = []kube.Missing{{Node: "d", Err: errors.New("pod weir-x is pending")}}
	code := term.run("observe", "--context", "prod", "-o", "json", "--last", "4", "-n", "shop")
	order := ""
	for line := range strings.Lines(term.out.String()) {
		order += line[strings.Index(line, `"ip":"`)+6:][:2] + " "
	}
	if code != exitPartial || order != "b3 a4 a5 b9 " {
		t.Errorf("exit code %d, flows %q", code, order)
	}
	contains(t, "standard error", term.err.String(), "node d is missing: pod weir-x is pending", "node c is missing: ", "7 events lost in the kernel of node b")
	if !slices.Equal(f.asked.viewers, []string{"shop"}) {
		t.Errorf("viewers %v", f.asked.viewers)
	}
}

// Who is asked, and as whom.
func TestWhoIsAsked(t *testing.T) {
	for _, row := range []struct {
		args           []string
		nodes, viewers string
	}{
		{[]string{"observe"}, "[]", "[]"},
		{[]string{"observe", "-n", "shop"}, "[]", "[shop]"},
		{[]string{"observe", "-n", "shop,db"}, "[]", "[]"},
		{[]string{"observe", "-n", "shop", "--viewer", "db"}, "[]", "[db]"},
		{[]string{"observe", "--node", "a"}, "[a]", "[]"},
		{[]string{"drops", "--node", "a", "-n", "shop"}, "[a]", "[shop]"},
		{[]string{"status", "--node", "a", "--viewer", "shop"}, "[a]", "[shop]"},
		{[]string{"policy", "status", "shop/p"}, "[]", "[shop]"},
	} {
		f, term := newFakeCluster(t, nil)
		f.err = errors.New("asked")
		if code := term.run(append([]string{"--kubeconfig", "k"}, row.args...)...); code != exitError {
			t.Errorf("%v: exit code %d: %s", row.args, code, term.err.String())
		}
		if got := fmt.Sprint(f.asked.nodes); got != row.nodes {
			t.Errorf("%v: nodes %s", row.args, got)
		}
		if got := fmt.Sprint(f.asked.viewers); got != row.viewers {
			t.Errorf("%v: viewers %s", row.args, got)
		}
	}
}

// A cluster is asked where one is named, and where no agent is here.
func TestInCluster(t *testing.T) {
	here := socketPath(t)
	(&fakeAgent{}).serve(t, here)
	for _, row := range []struct {
		name, socket string
		env          map[string]string
		args         []string
		cluster      bool
	}{
		{"weir", "", nil, nil, false},
		{"weir", "", map[string]string{"KUBECONFIG": "k"}, nil, true},
		{"weir", here, map[string]string{"KUBECONFIG": "k"}, nil, false},
		{"weir", here, nil, []string{"--kubeconfig", "k"}, true},
		{"weir", here, nil, []string{"--context", "c"}, true},
		{"kubectl-weir", here, nil, nil, true},
		{"kubectl-weir", "", nil, []string{"--socket", "/nowhere/weir"}, false},
		{"weir", "", map[string]string{"KUBECONFIG": "k", "WEIR_SOCKET": "/nowhere/weir"}, nil, false},
	} {
		term := newTerminal(row.env)
		term.name = "/usr/bin/" + row.name
		f := &fakeCluster{err: errors.New("the cluster is asked")}
		term.findAgents = f.find
		root := &session{process: term.process}
		c := newRoot(root)
		c.SetArgs(append([]string{"status"}, row.args...))
		if row.socket != "" {
			root.socket = row.socket
		}
		err := c.Execute()
		if got := err != nil && strings.Contains(err.Error(), "the cluster is asked"); got != row.cluster {
			t.Errorf("%s %v with a socket at %q and %v: %v", row.name, row.args, row.socket, row.env, err)
		}
	}
	term := newTerminal(nil)
	if code := term.run("status", "--socket", "/x", "--context", "c"); code != exitUsage {
		t.Errorf("both a socket and a cluster: %d", code)
	}
}

func answering(s *pb.StatusResponse, p *pb.Policy, sum *pb.SummarizeResponse) *fakeAgent {
	a := &fakeAgent{status: func(context.Context) (*pb.StatusResponse, error) { return s, nil }, summary: sum}
	if p != nil {
		a.get = &pb.GetPolicyResponse{Policy: p}
	}
	return a
}

func TestStatusCluster(t *testing.T) {
	full := []*pb.Ring{{Name: "allowed", Waiting: 6, Size: 8, Sample: 8}, {Name: "denied", Size: 8, Sample: 1}}
	_, term := newFakeCluster(t, map[string]*fakeAgent{
		"a": answering(&pb.StatusResponse{Node: "a", Ready: true, Mode: "enforce", Generation: 4, EndpointsByState: map[string]uint32{"enforced": 2, "audited": 1}}, nil, nil),
		"b": answering(&pb.StatusResponse{Node: "b", Rings: full, Conditions: []*pb.Condition{{Name: "apply", Message: "full"}}}, nil, nil), "c": nil,
	})
	code := term.run("status", "--context", "prod")
	if code != exitPartial {
		t.Errorf("exit code %d", code)
	}
	contains(t, "output", term.out.String(), "1 audited, 2 enforced", "75.0 %", "1 in 8", "apply", "enforce")
	contains(t, "standard error", term.err.String(), "no answer: weir-agent on node c")
}

// No agent answers: each error stands on a line of its own.
func TestNoneAnswers(t *testing.T) {
	_, term := newFakeCluster(t, map[string]*fakeAgent{"a": nil, "b": nil})
	if code := term.run("status", "--context", "prod"); code != exitError {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimSpace(term.err.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "weir: weir-agent on node a") || !strings.HasPrefix(lines[1], "weir: weir-agent on node b") {
		t.Errorf("standard error: %q", lines)
	}
}

func TestPolicyStatus(t *testing.T) {
	version := func(uid string, generation int64, held bool, states map[string]uint32) *fakeAgent {
		return answering(nil, &pb.Policy{Ref: &pb.PolicyRef{Namespace: "shop", Name: "p"}, Uid: uid, ObjectGeneration: generation, InForce: held, PodsByState: states}, nil)
	}
	_, term := newFakeCluster(t, map[string]*fakeAgent{
		"a": version("u", 3, true, map[string]uint32{"enforced": 2}), "b": version("u", 2, true, nil), "c": version("u", 3, false, nil),
		"d": version("u", 3, true, map[string]uint32{"audited": 1}), "e": answering(nil, nil, nil), "f": version("u", 3, true, nil),
		"g": version("u", 3, true, map[string]uint32{"notready": 1, "enforced": 4}), "h": version("old", 9, true, nil),
	})
	if code := term.run("policy", "status", "p", "-n", "shop", "--context", "prod"); code != exitDone {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
	lines := strings.Split(term.out.String(), "\n")
	contains(t, "output", lines[0], "shop/p is in force on 2 of 8 nodes")
	for i, want := range []string{"yes", "an older version", "not in the maps yet", "audited: ", "not known", "yes", "1 pods are not ready", "an older version"} {
		contains(t, "line of node "+string(rune('a'+i)), lines[2+i], want)
	}
	_, term = newFakeCluster(t, map[string]*fakeAgent{"a": answering(nil, nil, nil), "b": answering(nil, nil, nil)})
	if code := term.run("policy", "status", "shop/p", "--context", "prod"); code != exitError || !strings.Contains(term.err.String(), "no agent that answered knows") {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

func TestTopCluster(t *testing.T) {
	sum := func(flows uint64) *pb.SummarizeResponse {
		return &pb.SummarizeResponse{Groups: []*pb.SummaryGroup{{Source: &pb.Peer{Identity: pb.Identity_IDENTITY_POD, Namespace: "shop", Name: "web"}, Counts: &pb.SummaryCounts{Flows: flows}}}, Total: &pb.SummaryCounts{Flows: flows}}
	}
	a, b := answering(nil, nil, sum(40)), answering(nil, nil, sum(2))
	_, term := newFakeCluster(t, map[string]*fakeAgent{"a": a, "b": b})
	if code := term.run("top", "--by", "src", "--context", "prod", "--top", "3"); code != exitDone {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
	contains(t, "output", term.out.String(), "shop/web", "42")
	if r := asked[*pb.SummarizeRequest](t, b); r.GetTop() != 10000 {
		t.Errorf("the agent is asked for the first %d", r.GetTop())
	}
}

func TestOneAgentOnly(t *testing.T) {
	f, term := newFakeCluster(t, map[string]*fakeAgent{"a": {endpoints: &pb.EndpointsResponse{}}, "b": {}})
	if code := term.run("endpoints", "--context", "prod"); code != exitError || !strings.Contains(term.err.String(), "name one with --node") {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
	if code := term.run("endpoints", "--context", "prod", "--node", "a"); code != exitDone || !slices.Equal(f.asked.nodes, []string{"a"}) {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

// A token that has come to its end is renewed in the middle of a stream, without
// a gap and without a word; one that is refused again is an error.
func TestTokenEnds(t *testing.T) {
	var calls atomic.Int32
	a := &fakeAgent{watch: func(r *pb.WatchRequest, s grpc.ServerStreamingServer[pb.WatchResponse]) error {
		n := calls.Add(1)
		if want := uint64(n - 1); r.GetAfterSequence() != want {
			t.Errorf("call %d resumes after %d", n, r.GetAfterSequence())
		}
		if n <= 3 {
			if err := s.Send(&pb.WatchResponse{RunId: "r", Sequence: uint64(n), Loss: &pb.Loss{Kernel: 2}, Flows: []*pb.Flow{{Sequence: uint64(n), Time: timestamppb.Now()}}}); err != nil {
				return err
			}
		} else {
			calls.Add(-1)
		}
		return status.Error(codes.Unauthenticated, "expired")
	}}
	f, term := newFakeCluster(t, map[string]*fakeAgent{"a": a})
	code := term.run("observe", "-f", "--context", "prod", "-o", "json", "--timeout", (20 * time.Second).String())
	if code != exitError || strings.Count(term.out.String(), "\n") != 3 || f.tokens.Load() < 4 {
		t.Errorf("exit code %d, %d tokens refused: %s%s", code, f.tokens.Load(), term.out.String(), term.err.String())
	}
	contains(t, "standard error", term.err.String(), "2 events lost in the kernel of node a", "weir-agent on node a refuses access: expired")
	if strings.Contains(term.err.String(), "lost the agent") {
		t.Error("a token that ends is told as a loss")
	}
}
