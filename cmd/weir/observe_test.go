// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

type watchStream = grpc.ServerStreamingServer[pb.WatchResponse]

// numbered is a flow that is recognised by its source port.
func numbered(sequence uint64) *pb.Flow {
	pod := func(name string, port uint32) *pb.Peer {
		return &pb.Peer{Ip: "10.0.0.1", Port: port, Identity: pb.Identity_IDENTITY_POD, Namespace: "shop", Name: name}
	}
	return &pb.Flow{
		Sequence: sequence, Time: timestamppb.New(clock().Add(time.Duration(sequence) * time.Second)), Protocol: 6,
		Verdict: pb.Verdict_VERDICT_ALLOWED, Reason: pb.Reason_REASON_NOT_ISOLATED, Direction: pb.Direction_DIRECTION_EGRESS,
		Source: pod("web", 1000+uint32(sequence)), Destination: pod("db", 5432),
	}
}

func response(run string, sequences ...uint64) *pb.WatchResponse {
	r := &pb.WatchResponse{RunId: run}
	for _, n := range sequences {
		r.Flows = append(r.Flows, numbered(n))
		r.Sequence = n
	}
	return r
}

// followOnce sends one flow, and stays if the reader follows.
func followOnce(r *pb.WatchRequest, stream watchStream) error {
	if err := stream.Send(response("r", 1)); err != nil || !r.GetFollow() {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestObserveEndsWithTheKeptFlows(t *testing.T) {
	agent := &fakeAgent{watch: func(_ *pb.WatchRequest, stream watchStream) error {
		for _, r := range []*pb.WatchResponse{response("r"), response("r", 1, 2), response("r", 5)} {
			if err := stream.Send(r); err != nil {
				return err
			}
		}
		return nil
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("observe"); code != exitDone || term.err.String() != "" {
		t.Fatalf("exit code %d: %s", code, term.err.String())
	}
	want := `Nov 22 09:30:01.000  ALLOWED  shop/web:1001           -> shop/db:5432            TCP   egress of shop/web: not isolated
Nov 22 09:30:02.000  ALLOWED  shop/web:1002           -> shop/db:5432            TCP   egress of shop/web: not isolated
Nov 22 09:30:05.000  ALLOWED  shop/web:1005           -> shop/db:5432            TCP   egress of shop/web: not isolated
`
	if got := term.out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestObserveTellsLosses(t *testing.T) {
	losses := []*pb.Loss{{}, {Kernel: 3}, {Kernel: 3, Reader: 12}, nil, {Kernel: 4, Reader: 13}, {Kernel: 4, Reader: 13}, {Kernel: 4, Reader: 13, Limited: 2}}
	agent := &fakeAgent{watch: func(_ *pb.WatchRequest, stream watchStream) error {
		for _, l := range losses {
			if err := stream.Send(&pb.WatchResponse{RunId: "r", Loss: l}); err != nil {
				return err
			}
		}
		return nil
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("observe", "-o", "json"); code != exitPartial {
		t.Fatalf("exit code %d: %s", code, term.err.String())
	}
	want := `weir: 3 events lost in the kernel
weir: 12 flows missed by this reader
weir: 1 event lost in the kernel
weir: 1 flow missed by this reader
weir: 2 events counted but not told: a pod had more than its share
weir: no flow that is kept is asked for by these flags; -f waits for new ones
`
	if got := term.err.String(); got != want || term.out.String() != "" {
		t.Errorf("standard error:\n%swant:\n%sstandard output: %s", got, want, term.out.String())
	}
}

// A broken stream must not pass for the whole answer.
func TestObserveWithoutFollowFailsWithTheAgent(t *testing.T) {
	agent := &fakeAgent{watch: func(_ *pb.WatchRequest, stream watchStream) error {
		if err := stream.Send(response("r", 1)); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "shutting down")
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("observe"); code != exitError {
		t.Errorf("exit code %d", code)
	}
	contains(t, "standard error", term.err.String(), "went away", "shutting down")
	contains(t, "standard output", term.out.String(), "shop/web:1001")
}

func TestObserveStopsAtAFilterThatTheAgentRefuses(t *testing.T) {
	agent := &fakeAgent{watch: func(*pb.WatchRequest, watchStream) error {
		return status.Error(codes.InvalidArgument, "ports: too many")
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("observe", "-f"); code != exitError {
		t.Errorf("exit code %d", code)
	}
	contains(t, "standard error", term.err.String(), "ports: too many", "--help")
}

func TestObserveTellsThatItCannotWrite(t *testing.T) {
	agent := &fakeAgent{watch: followOnce}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	reader, writer := io.Pipe()
	reader.Close()
	term.process.out = writer
	if code := term.run("observe", "-f"); code != exitError {
		t.Errorf("exit code %d", code)
	}
	contains(t, "standard error", term.err.String(), "write flows", io.ErrClosedPipe.Error())
}

// started runs observe in the background; finish interrupts it and returns
// its exit code.
func started(t *testing.T, term *terminal, args ...string) (finish func() int) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- run(ctx, term.process, args) }()
	t.Cleanup(interrupt)
	return func() int {
		interrupt()
		select {
		case code := <-done:
			return code
		case <-time.After(20 * time.Second):
			t.Fatal("observe does not heed the interrupt")
			return 0
		}
	}
}

func TestFollowIsInterrupted(t *testing.T) {
	agent := &fakeAgent{watch: followOnce}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	finish := started(t, term, "observe", "-f")
	until(t, "the first flow", func() bool { return strings.Contains(term.out.String(), "web:1001") })
	if code := finish(); code != exitInterrupted || term.err.String() != "" {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

// A quiet network is not a silent agent.
func TestFollowOutlivesTheTimeout(t *testing.T) {
	speak := make(chan struct{})
	agent := &fakeAgent{watch: func(_ *pb.WatchRequest, stream watchStream) error {
		if err := stream.Send(response("r")); err != nil {
			return err
		}
		<-speak
		if err := stream.Send(response("r", 1)); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	const timeout = time.Second
	finish := started(t, term, "observe", "-f", "--request-timeout", timeout.String())
	until(t, "the request", func() bool { agent.mu.Lock(); defer agent.mu.Unlock(); return len(agent.requests) == 1 })
	over := time.Now().Add(timeout + 200*time.Millisecond)
	until(t, "the timeout is over", func() bool { return time.Now().After(over) })
	close(speak)
	until(t, "the flow", func() bool { return strings.Contains(term.out.String(), "web:1001") || term.err.String() != "" })
	if code := finish(); code != exitInterrupted || term.err.String() != "" {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

// store is an agent run that keeps its flows and serves them as weir.proto says.
func store(run string, flows ...uint64) *fakeAgent {
	return &fakeAgent{watch: func(r *pb.WatchRequest, stream watchStream) error {
		after := uint64(0)
		if r.GetRunId() == run {
			after = r.GetAfterSequence()
		}
		answer := response(run)
		answer.Loss = &pb.Loss{Kernel: 1}
		for _, n := range flows {
			if n > after {
				answer.Flows = append(answer.Flows, numbered(n))
			}
			answer.Sequence = n
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}}
}

func TestFollowFindsItsAgentAgain(t *testing.T) {
	rows := []struct {
		name string
		next *fakeAgent
		told string
		want []string
	}{
		{"same run", store("r", 1, 2, 3), "connected to the agent again after", []string{"1001", "1002", "1003"}},
		{"restarted", store("r2", 1, 2, 7), "restarted; nobody saw", []string{"1001", "1002", "1001", "1002", "1007"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			socket := socketPath(t)
			stop := store("r", 1, 2).serve(t, socket)
			term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
			finish := started(t, term, "observe", "-f", "--since", "1h")
			until(t, "the first flows", func() bool { return strings.Contains(term.out.String(), "web:1002") })
			stop()
			until(t, "the loss is told", func() bool { return strings.Contains(term.err.String(), "lost the agent") })
			row.next.serve(t, socket)
			last := fmt.Sprintf("web:%s ", row.want[len(row.want)-1])
			until(t, "flows of the next connection", func() bool { return strings.Contains(term.out.String(), last) })
			if code := finish(); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			contains(t, "standard error", term.err.String(), row.told)
			if n := strings.Count(term.err.String(), "1 event lost in the kernel"); n != 2 {
				t.Errorf("the loss of each connection is told once, %d times here:\n%s", n, term.err.String())
			}
			if n := strings.Count(term.err.String(), "lost the agent"); n != 1 {
				t.Errorf("told %d times that the agent is lost:\n%s", n, term.err.String())
			}
			var got []string
			for line := range strings.Lines(term.out.String()) {
				_, rest, _ := strings.Cut(line, "web:")
				got = append(got, rest[:4])
			}
			if strings.Join(got, " ") != strings.Join(row.want, " ") {
				t.Errorf("flows %v, want %v", got, row.want)
			}
		})
	}
}
