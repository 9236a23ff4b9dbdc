// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/weirnet/weir/api/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAgent answers on a real Unix socket what a test sets. Requests are kept.
type fakeAgent struct {
	pb.UnimplementedAgentServer

	status    func(context.Context) (*pb.StatusResponse, error)
	endpoints *pb.EndpointsResponse
	list      *pb.ListPoliciesResponse
	get       *pb.GetPolicyResponse
	explain   *pb.ExplainResponse
	summary   *pb.SummarizeResponse
	watch     func(*pb.WatchRequest, grpc.ServerStreamingServer[pb.WatchResponse]) error

	mu       sync.Mutex
	requests []any
}

func (a *fakeAgent) keep(request any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, request)
}

// asked returns the one request of type T that came.
func asked[T any](t *testing.T, a *fakeAgent) T {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []T
	for _, r := range a.requests {
		if request, ok := r.(T); ok {
			found = append(found, request)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d requests of type %T came, want one", len(found), *new(T))
	}
	return found[0]
}

func (a *fakeAgent) Status(ctx context.Context, r *pb.StatusRequest) (*pb.StatusResponse, error) {
	a.keep(r)
	if a.status == nil {
		return nil, status.Error(codes.Internal, "the test set no status")
	}
	return a.status(ctx)
}

func (a *fakeAgent) Endpoints(_ context.Context, r *pb.EndpointsRequest) (*pb.EndpointsResponse, error) {
	a.keep(r)
	return a.endpoints, nil
}

// fakePolicies exists because Flows and Policies both have a method List.
type fakePolicies struct {
	pb.UnimplementedPoliciesServer
	agent *fakeAgent
}

func (p *fakePolicies) List(_ context.Context, r *pb.ListPoliciesRequest) (*pb.ListPoliciesResponse, error) {
	p.agent.keep(r)
	return p.agent.list, nil
}

func (p *fakePolicies) Get(_ context.Context, r *pb.GetPolicyRequest) (*pb.GetPolicyResponse, error) {
	p.agent.keep(r)
	if p.agent.get == nil {
		return nil, status.Errorf(codes.NotFound, "there is no policy %s/%s", r.GetNamespace(), r.GetName())
	}
	return p.agent.get, nil
}

func (p *fakePolicies) Explain(_ context.Context, r *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	p.agent.keep(r)
	if p.agent.explain == nil {
		return nil, status.Errorf(codes.NotFound, "there is no pod %s", r.GetSource())
	}
	return p.agent.explain, nil
}

type fakeFlows struct {
	pb.UnimplementedFlowsServer
	agent *fakeAgent
}

func (f *fakeFlows) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	f.agent.keep(r)
	return f.agent.watch(r, stream)
}

func (f *fakeFlows) Summarize(_ context.Context, r *pb.SummarizeRequest) (*pb.SummarizeResponse, error) {
	f.agent.keep(r)
	if f.agent.summary == nil {
		return nil, status.Error(codes.Internal, "the test set no summary")
	}
	return f.agent.summary, nil
}

// serve listens on socket until the returned function is called, or the test
// ends.
func (a *fakeAgent) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterAgentServer(server, a)
	pb.RegisterPoliciesServer(server, &fakePolicies{agent: a})
	pb.RegisterFlowsServer(server, &fakeFlows{agent: a})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "agent.sock") }

// buffer is written by a command and read by a test at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// terminal is what a command ran with, and what it wrote.
type terminal struct {
	process
	out, err buffer
}

func clock() time.Time { return time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC) }

func newTerminal(env map[string]string) *terminal {
	t := &terminal{}
	t.process = process{
		name: "/usr/bin/weir", out: &t.out, err: &t.err,
		getenv: func(key string) string { return env[key] },
		now:    clock, location: time.UTC, in: strings.NewReader(""),
		size: func() (int, int) { return 0, 0 },
	}
	return t
}

func (t *terminal) run(args ...string) int { return run(context.Background(), t.process, args) }

// until waits for a condition of what another goroutine does.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", what, want, text)
		}
	}
}
