// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// script is an agent that follows one: each connection takes the next turn.
type script struct {
	weirv1.UnimplementedFlowsServer
	mu       sync.Mutex
	turns    []turn
	requests []*weirv1.WatchRequest
}

// turn is what one connection is told before it ends with the error; endless
// waits for the client to leave instead.
type turn struct {
	responses []*weirv1.WatchResponse
	err       error
	endless   bool
}

func (s *script) Watch(req *weirv1.WatchRequest, stream grpc.ServerStreamingServer[weirv1.WatchResponse]) error {
	s.mu.Lock()
	s.requests = append(s.requests, req)
	if len(s.turns) == 0 {
		s.mu.Unlock()
		return status.Error(codes.Internal, "the script is over")
	}
	now := s.turns[0]
	s.turns = s.turns[1:]
	s.mu.Unlock()
	for _, r := range now.responses {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	if now.endless {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	return now.err
}

func (s *script) request(i int) *weirv1.WatchRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[i]
}

// serve runs the script at a socket until the returned function is called.
func (s *script) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Error(err) // not Fatal: also called beside the test's own goroutine
		return func() {}
	}
	g := grpc.NewServer()
	weirv1.RegisterFlowsServer(g, s)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Serve(l) }()
	stop = sync.OnceFunc(func() { g.Stop(); <-ended })
	t.Cleanup(stop)
	return stop
}

func play(t *testing.T, turns ...turn) (*Client, *script, context.Context) {
	t.Helper()
	s := &script{turns: turns}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	s.serve(t, socket)
	c, err := Dial(t.Context(), quick(socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c, s, ctx
}

func told(run string, sequence uint64, loss *weirv1.Loss) *weirv1.WatchResponse {
	return &weirv1.WatchResponse{RunId: run, Sequence: sequence, Loss: loss}
}

func losses(kernel, reader uint64) *weirv1.Loss {
	return &weirv1.Loss{Kernel: kernel, Reader: reader, Limited: 2 * kernel}
}

// tale is a watch in one line: 5 for a response up to sequence 5, with its
// losses in brackets, and what happens in between.
func tale(t *testing.T, c *Client, ctx context.Context, req *weirv1.WatchRequest, stopAfter int) string {
	t.Helper()
	var out []string
	for u, err := range c.WatchReconnect(ctx, req) {
		switch {
		case err != nil:
			out = append(out, "error "+err.Error())
		case u.Response != nil:
			s := fmt.Sprint(u.Response.Sequence)
			if l := u.Response.Loss; l != nil {
				s += fmt.Sprintf("(%d,%d)", l.Kernel, l.Reader)
				if l.Limited != 2*l.Kernel {
					s += fmt.Sprintf(" with %d limited", l.Limited)
				}
			}
			out = append(out, s)
		case u.Lost != nil:
			out = append(out, "lost")
			if u.Lost.Err == nil || u.Lost.RetryIn != c.options.BackoffMin {
				t.Errorf("lost: %+v", u.Lost)
			}
		case u.Restored != nil:
			s := "same"
			if u.Restored.NewRun {
				s = "new"
			}
			if u.Restored.After <= 0 {
				t.Errorf("restored after %s", u.Restored.After)
			}
			out = append(out, s)
		}
		if len(out) == stopAfter {
			break
		}
	}
	return strings.Join(out, " ")
}

var away = status.Error(codes.Unavailable, "weir-agent is stopping")

func TestWatchReconnect(t *testing.T) {
	type rs = []*weirv1.WatchResponse
	flow := func(last uint32) *weirv1.WatchRequest { return &weirv1.WatchRequest{Follow: true, Last: last} }
	for _, row := range []struct {
		name  string
		req   *weirv1.WatchRequest
		turns []turn
		stop  int
		want  string
	}{
		{"through", &weirv1.WatchRequest{}, []turn{{responses: rs{told("a", 5, nil)}}}, 0, "5"},
		{"a bad filter", flow(0), []turn{{err: status.Error(codes.InvalidArgument, "filter.ips[0]")}}, 0, "error filter.ips[0]"},
		{"the reader leaves", flow(0), []turn{{responses: rs{told("a", 5, nil)}, endless: true}}, 1, "5"},
		{"the same run", flow(0), []turn{{rs{told("a", 5, nil)}, away, false}, {rs{told("a", 6, nil)}, nil, true}}, 4, "5 lost same 6"},
		{"another run", flow(0), []turn{{rs{told("a", 5, nil)}, away, false}, {rs{told("b", 1, nil)}, nil, true}}, 4, "5 lost new 1"},
		{"the agent ends in good order", flow(0), []turn{{rs{told("a", 5, nil)}, nil, false}, {rs{told("a", 5, nil)}, nil, true}}, 4, "5 lost same 5"},
		{"several attempts, told once", flow(0), []turn{{rs{told("a", 5, nil)}, away, false}, {nil, away, false}, {nil, away, false}, {rs{told("a", 7, nil)}, nil, true}}, 4, "5 lost same 7"},
		{"losses add up", flow(0), []turn{
			{rs{told("a", 5, losses(1, 0)), told("a", 6, losses(2, 10))}, away, false},
			{rs{told("a", 7, losses(0, 5))}, away, false},
			{rs{told("b", 1, losses(0, 0)), told("b", 2, losses(3, 0))}, nil, true},
		}, 9, "5(1,0) 6(2,10) lost same 7(2,15) lost new 1(2,15) 2(5,15)"},
		{"lost before it said anything", flow(0), []turn{{err: away}}, 0, "error weir-agent at SOCKET went away (weir-agent is stopping); see whether it runs, then try again"},
		{"lost, and then refused", flow(0), []turn{{rs{told("a", 5, nil)}, away, false}, {nil, status.Error(codes.PermissionDenied, "no"), false}}, 0, "5 lost error no"},
		{"lost without follow", &weirv1.WatchRequest{}, []turn{{rs{told("a", 5, nil)}, away, false}}, 0, "5 error weir-agent at SOCKET went away (weir-agent is stopping); see whether it runs, then try again"},
	} {
		c, _, ctx := play(t, row.turns...)
		got := strings.ReplaceAll(tale(t, c, ctx, row.req, row.stop), c.options.Socket, "SOCKET")
		if got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
	}
}

func TestWatchReconnectAsksToGoOn(t *testing.T) {
	since := &timestamppb.Timestamp{Seconds: 9}
	for _, row := range []struct {
		name  string
		since *timestamppb.Timestamp
		want  *timestamppb.Timestamp
	}{
		{"all that another run has kept", nil, &timestamppb.Timestamp{}},
		{"but not before what was asked", since, since},
	} {
		c, s, ctx := play(t, turn{[]*weirv1.WatchResponse{told("a", 5, nil), told("a", 8, nil)}, away, false}, turn{[]*weirv1.WatchResponse{told("a", 9, nil)}, nil, true})
		req := &weirv1.WatchRequest{Follow: true, Last: 20, Since: row.since, Filter: &weirv1.FlowFilter{Pods: []string{"web"}}}
		if got := tale(t, c, ctx, req, 5); got != "5 8 lost same 9" {
			t.Fatal(got)
		}
		first, second := s.request(0), s.request(1)
		if first.Last != 20 || first.RunId != "" || first.AfterSequence != 0 || first.Since.GetSeconds() != row.since.GetSeconds() {
			t.Errorf("%s: first request %v", row.name, first)
		}
		if second.Last != 0 || second.RunId != "a" || second.AfterSequence != 8 || !second.Follow || second.Filter.Pods[0] != "web" {
			t.Errorf("%s: second request %v", row.name, second)
		}
		if second.Since == nil || second.Since.Seconds != row.want.Seconds {
			t.Errorf("%s: since %v, want %v", row.name, second.Since, row.want)
		}
		if req.RunId != "" || req.Last != 20 {
			t.Errorf("%s: the caller's request was changed: %v", row.name, req)
		}
	}
}

// A limit holds over all connections, and what is asked for the second time is
// what is left of it. An agent that ends the stream then, or once the time is
// over, is not looked for again.
func TestWatchReconnectEndsAtItsBounds(t *testing.T) {
	with := func(sequences ...uint64) *weirv1.WatchResponse {
		r := told("a", sequences[len(sequences)-1], nil)
		for _, n := range sequences {
			r.Flows = append(r.Flows, &weirv1.Flow{Sequence: n})
		}
		return r
	}
	past := timestamppb.New(time.Now().Add(-time.Minute))
	for _, row := range []struct {
		name  string
		req   *weirv1.WatchRequest
		turns []turn
		want  string
		left  uint32 // asked for at last
	}{
		{"limit", &weirv1.WatchRequest{Follow: true, Limit: 3}, []turn{{responses: []*weirv1.WatchResponse{with(1, 2), with(3)}}}, "2 3", 3},
		{"limit over two connections", &weirv1.WatchRequest{Follow: true, Limit: 3}, []turn{
			{[]*weirv1.WatchResponse{with(1, 2)}, away, false}, {responses: []*weirv1.WatchResponse{with(4)}},
		}, "2 lost same 4", 1},
		{"limit, and then the agent goes", &weirv1.WatchRequest{Follow: true, Limit: 2}, []turn{{[]*weirv1.WatchResponse{with(1, 2)}, away, false}}, "2", 2},
		{"until", &weirv1.WatchRequest{Follow: true, Until: past}, []turn{{responses: []*weirv1.WatchResponse{with(1)}}}, "1", 0},
		{"until, but the agent goes before", &weirv1.WatchRequest{Follow: true, Until: past}, []turn{
			{[]*weirv1.WatchResponse{with(1)}, away, false}, {responses: []*weirv1.WatchResponse{with(2)}},
		}, "1 lost same 2", 0},
	} {
		c, s, ctx := play(t, row.turns...)
		if got := tale(t, c, ctx, row.req, 0); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if last := s.request(len(row.turns) - 1); last.Limit != row.left {
			t.Errorf("%s: asked for %d at last, want %d", row.name, last.Limit, row.left)
		}
	}
}

// The agent ends, its socket goes, and after a while there is another agent.
func TestWatchReconnectOverARestart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	first := &script{turns: []turn{{responses: []*weirv1.WatchResponse{told("a", 5, nil)}, endless: true}}}
	stop := first.serve(t, socket)
	c, err := Dial(t.Context(), quick(socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var news []string
	for u, err := range c.WatchReconnect(ctx, &weirv1.WatchRequest{Follow: true}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case u.Response != nil && u.Response.RunId == "a":
			stop()
		case u.Response != nil:
			news = append(news, "back")
			cancel()
		case u.Lost != nil:
			news = append(news, "lost")
			second := &script{turns: []turn{{responses: []*weirv1.WatchResponse{told("b", 1, nil)}, endless: true}}}
			time.AfterFunc(100*time.Millisecond, func() { second.serve(t, socket) })
		case u.Restored != nil:
			news = append(news, fmt.Sprintf("restored, new %v", u.Restored.NewRun))
		}
		if len(news) == 3 {
			break
		}
	}
	if got := strings.Join(news, "; "); got != "lost; restored, new true; back" {
		t.Error(got)
	}
}

func TestWatchReconnectEndsWithItsContext(t *testing.T) {
	for _, row := range []struct {
		name  string
		turns []turn
	}{
		{"connected", []turn{{[]*weirv1.WatchResponse{told("a", 5, nil)}, nil, true}}},
		{"waiting", []turn{{[]*weirv1.WatchResponse{told("a", 5, nil)}, away, false}, {nil, away, false}}},
	} {
		c, _, parent := play(t, row.turns...)
		ctx, cancel := context.WithCancel(parent)
		var last error
		for u, err := range c.WatchReconnect(ctx, &weirv1.WatchRequest{Follow: true}) {
			if len(row.turns) == 1 && u.Response != nil || u.Lost != nil {
				cancel()
			}
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("%s: %v", row.name, last)
		}
		cancel()
	}
}

func TestWatchReconnectWithoutAnAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	s := &script{}
	stop := s.serve(t, socket)
	c, err := Dial(t.Context(), quick(socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop()
	got := 0
	for _, err := range c.WatchReconnect(t.Context(), &weirv1.WatchRequest{Follow: true}) {
		got++
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("error %v", err)
		}
	}
	if got != 1 {
		t.Errorf("%d updates", got)
	}
}
