// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/weirnet/weir/api/client"
	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// agent is a fixed agent behind the interfaces of the server.
type agent struct {
	mu        sync.Mutex
	asked     []string
	policies  []server.PolicyState
	endpoints []server.Endpoint
	answer    server.Explanation
	stats     server.Stats
	err       error
	panics    bool
}

func (a *agent) note(format string, args ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, fmt.Sprintf(format, args...))
	if a.panics {
		panic("a bug")
	}
	return a.err
}

func (a *agent) Policies(_ context.Context, ns string) ([]server.PolicyState, error) {
	return a.policies, a.note("policies of %q", ns)
}

func (a *agent) Policy(_ context.Context, key policy.ObjectKey) (server.PolicyState, error) {
	return server.PolicyState{Key: key}, a.note("policy %s/%s", key.Namespace, key.Name)
}

func (a *agent) Stats(_ context.Context, namespace, name string) (server.Stats, error) {
	return a.stats, a.note("stats of %q %q", namespace, name)
}

func (a *agent) Explain(_ context.Context, q server.Question) (server.Explanation, error) {
	return a.answer, a.note("explain %+v", q)
}

func (a *agent) Status(context.Context) (server.Status, error) {
	return server.Status{Node: "n1", Ready: true, Endpoints: map[string]uint32{"enforced": 2}}, a.note("status")
}

func (a *agent) Endpoints(context.Context) ([]server.Endpoint, error) {
	return a.endpoints, a.note("endpoints")
}

func (a *agent) Announce(_ context.Context, x server.Announcement) (string, error) {
	return "enforced", a.note("announce %+v", x)
}

func (a *agent) Retract(_ context.Context, pod policy.ObjectKey, uid string) error {
	return a.note("retract %s/%s %s", pod.Namespace, pod.Name, uid)
}

// running is a server on a Unix socket with a client of it.
type running struct {
	*client.Client
	agent   *agent
	server  *server.Server
	store   *flows.Store
	lost    atomic.Uint64
	limited atomic.Uint64
	socket  string
	log     *bytes.Buffer
	stop    func() error // ends the server, and returns what Run returned
}

func start(t *testing.T, change ...func(*server.Options)) *running {
	t.Helper()
	r := &running{agent: &agent{}, socket: filepath.Join(t.TempDir(), "agent.sock"), log: &bytes.Buffer{}}
	var err error
	if r.store, err = flows.NewStore(flows.MinCapacity); err != nil {
		t.Fatal(err)
	}
	o := server.Defaults()
	o.Node, o.RunID, o.Flows = "n1", "run-1", r.store
	o.KernelLost = func() (lost, limited uint64) { return r.lost.Load(), r.limited.Load() }
	o.Policies, o.Explainer, o.State, o.Announcer = r.agent, r.agent, r.agent, r.agent
	o.Log = slog.New(slog.NewTextHandler(r.log, nil))
	for _, c := range change {
		c(&o)
	}
	if r.server, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx, l) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if r.Client, err = client.Dial(t.Context(), at(r.socket)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func at(socket string) client.Options {
	o := client.Defaults()
	o.Socket = socket
	o.BackoffMin, o.BackoffMax = 5*time.Millisecond, 50*time.Millisecond
	return o
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantError fails unless the error has the code and says all parts.
func wantError(t *testing.T, what string, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: %s (%v), want %s", what, status.Code(err), err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q does not say %q", what, err, part)
		}
	}
}

func key(ns, name string) policy.ObjectKey { return policy.ObjectKey{Namespace: ns, Name: name} }

func TestErrorsOfTheAgentGetTheirCode(t *testing.T) {
	r := start(t)
	for _, row := range []struct {
		err  error
		code codes.Code
	}{
		{fmt.Errorf("policy a/b: %w", server.ErrNotFound), codes.NotFound},
		{fmt.Errorf("policy a/b: %w", server.ErrInvalid), codes.InvalidArgument},
		{fmt.Errorf("policy a/b: %w", server.ErrConflict), codes.AlreadyExists},
		{fmt.Errorf("policy a/b: %w", server.ErrNotReady), codes.FailedPrecondition},
		{fmt.Errorf("policy a/b: %w", context.Canceled), codes.Canceled},
		{errors.New("policy a/b: disk on fire"), codes.Internal},
	} {
		r.agent.err = row.err
		_, err := r.Client.Policies.Get(limited(t), &weirv1.GetPolicyRequest{Namespace: "a", Name: "b"})
		wantError(t, row.err.Error(), err, row.code, row.err.Error())
	}
	_, err := r.Client.Policies.Get(limited(t), &weirv1.GetPolicyRequest{Namespace: "a"})
	wantError(t, "no name", err, codes.InvalidArgument, `"a" and ""`)
}

func TestPanicEndsTheCallAlone(t *testing.T) {
	r := start(t)
	r.agent.panics = true
	_, err := r.Agent.Status(limited(t), &weirv1.StatusRequest{})
	wantError(t, "panic", err, codes.Internal, "by a bug of weir-agent; its log has the details")
	r.agent.panics = false
	if _, err := r.Agent.Status(limited(t), &weirv1.StatusRequest{}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	if err := r.stop(); err != nil { // also orders the log before the read
		t.Error(err)
	}
	if log := r.log.String(); !strings.Contains(log, "a bug") || !strings.Contains(log, "server_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
}

func TestHealthAndReflection(t *testing.T) {
	r := start(t)
	health := healthv1.NewHealthClient(r.Conn())
	check := func(service string) healthv1.HealthCheckResponse_ServingStatus {
		got, err := health.Check(limited(t), &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatalf("health of %q: %v", service, err)
		}
		return got.Status
	}
	if got := check(""); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("an agent that is not ready: %s", got)
	}
	r.server.SetReady(true)
	for _, service := range []string{"", "weir.v1.Flows", "weir.v1.Policies", "weir.v1.Agent"} {
		if got := check(service); got != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %s", service, got)
		}
	}
	stream, err := reflectionv1.NewServerReflectionClient(r.Conn()).ServerReflectionInfo(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	list, err := stream.Recv()
	if err != nil || !strings.Contains(list.String(), "weir.v1.Flows") {
		t.Errorf("reflection: %v, %v", list, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// Neither a watch that nobody reads, nor a client that connects and says
// nothing, holds the agent up.
func TestRunEndsInTime(t *testing.T) {
	r := start(t, func(o *server.Options) { o.StopTimeout = 300 * time.Millisecond })
	silent, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	stuck, err := r.Flows.Watch(limited(t), &weirv1.WatchRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stuck.Recv(); err != nil {
		t.Fatal(err)
	}
	big := &policy.Pod{Labels: map[string]string{"x": strings.Repeat("y", 100_000)}}
	for range 1000 {
		r.store.Add(&flows.Flow{Source: flows.Peer{Pod: big, Identity: flows.PodIdentity}})
	}
	begun := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("Run took %s to end", took)
	}
	if _, err := net.Dial("unix", r.socket); err == nil {
		t.Error("the socket still answers")
	}
}

func TestWatchersAreToldThatTheAgentStops(t *testing.T) {
	r := start(t)
	watch, err := r.Flows.Watch(limited(t), &weirv1.WatchRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	_, err = watch.Recv()
	wantError(t, "watch", err, codes.Unavailable, "weir-agent is stopping")
}

func TestOptionsNameWhatIsAbsent(t *testing.T) {
	_, err := server.New(server.Options{})
	for _, part := range []string{"RunID", "Flows", "Policies", "Explainer", "State", "Log", "stop timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
	if a, b := server.Defaults().RunID, server.Defaults().RunID; a == b || len(a) != 16 {
		t.Errorf("run ids %q and %q", a, b)
	}
}
