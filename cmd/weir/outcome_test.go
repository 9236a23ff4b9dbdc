// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/weirnet/weir/api/v1"
)

// agentThat sends flows 1 to n, after a loss, and stays if the reader follows.
func agentThat(n uint64, lost uint64) *fakeAgent {
	return &fakeAgent{watch: func(r *pb.WatchRequest, stream watchStream) error {
		first := response("r")
		first.Loss = &pb.Loss{Kernel: lost}
		if err := stream.Send(first); err != nil {
			return err
		}
		for i := range n {
			if err := stream.Send(response("r", i+1)); err != nil {
				return err
			}
		}
		if r.GetFollow() {
			<-stream.Context().Done()
		}
		return nil
	}}
}

// Every exit code of an observation, and which of two prevails.
func TestExitCodes(t *testing.T) {
	refuses := &fakeAgent{watch: func(*pb.WatchRequest, watchStream) error { return status.Error(codes.InvalidArgument, "no") }}
	none, three, lossy, lossyNone := agentThat(0, 0), agentThat(3, 0), agentThat(3, 7), agentThat(0, 7)
	rows := []struct {
		agent *fakeAgent
		line  string
		code  int
		shown int
	}{
		{three, "observe", exitDone, 3},
		{none, "observe", exitDone, 0},
		{refuses, "observe", exitError, 0},
		{three, "observe --port 0", exitUsage, 0},
		{none, "observe --exit-nonzero-if-empty", exitEmpty, 0},
		{three, "observe --exit-nonzero-if-empty", exitDone, 3},
		{three, "observe --fail-on-match", exitMatch, 1},
		{none, "observe --fail-on-match", exitDone, 0},
		{three, "observe -f --fail-on-match", exitMatch, 1},
		{lossy, "observe", exitPartial, 3},
		{lossy, "observe -f --count 2", exitPartial, 2},
		{lossy, "observe -f --fail-on-match", exitMatch, 1},
		{lossyNone, "observe --fail-on-match", exitPartial, 0},
		{lossyNone, "observe --exit-nonzero-if-empty", exitPartial, 0},
		{three, "observe -f --count 3", exitDone, 3},
		{three, "observe -f --count 2", exitDone, 2},
		{three, "observe --count 2", exitDone, 2},
		{three, "observe --count 9", exitDone, 3},
		{three, "observe -f --timeout 200ms", exitTimeout, 3},
		{none, "observe -f --timeout 200ms", exitTimeout, 0},
		{three, "observe -f --timeout 200ms --count 4", exitTimeout, 3},
		{three, "observe -f --timeout 20s --count 3", exitDone, 3},
		{none, "observe -f --timeout 200ms --fail-on-match", exitDone, 0},
		{lossyNone, "observe -f --timeout 200ms --fail-on-match", exitPartial, 0},
		{none, "observe -f --timeout 200ms --exit-nonzero-if-empty", exitEmpty, 0},
		{three, "observe -f --timeout 200ms --exit-nonzero-if-empty", exitDone, 3},
		{three, "observe -f --timeout 200ms --exit-nonzero-if-empty --count 4", exitTimeout, 3},
		{three, "record -w - --count 3", exitDone, 3},
		{three, "record -w - --timeout 200ms", exitTimeout, 3},
	}
	sockets := map[*fakeAgent]string{}
	for _, row := range rows {
		if sockets[row.agent] == "" {
			sockets[row.agent] = socketPath(t)
			row.agent.serve(t, sockets[row.agent])
		}
		term := newTerminal(map[string]string{"WEIR_SOCKET": sockets[row.agent]})
		code := term.run(strings.Fields(row.line)...)
		shown := strings.Count(term.out.String(), "\n")
		if code != row.code || shown != row.shown {
			t.Errorf("%s: exit code %d with %d flows, want %d with %d: %s", row.line, code, shown, row.code, row.shown, term.err.String())
		}
	}
}

// An interrupt is told from a timeout, whichever flags there are.
func TestInterruptPrevails(t *testing.T) {
	socket := socketPath(t)
	agentThat(1, 3).serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	finish := started(t, term, "observe", "-f", "--timeout", "1h", "--exit-nonzero-if-empty")
	until(t, "the flow", func() bool { return strings.Contains(term.out.String(), "web:1001") })
	if code := finish(); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

// An agent that restarted has left a gap that nobody counts. --count holds in
// the middle of a response.
func TestARestartIsAPart(t *testing.T) {
	socket := socketPath(t)
	lossless := func(run string, sequences ...uint64) *fakeAgent {
		return &fakeAgent{watch: func(_ *pb.WatchRequest, stream watchStream) error {
			if err := stream.Send(response(run, sequences...)); err != nil {
				return err
			}
			<-stream.Context().Done()
			return nil
		}}
	}
	stop := lossless("r", 1).serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	done := make(chan int, 1)
	go func() {
		done <- run(context.Background(), term.process, []string{"observe", "-f", "--since", "1h", "--count", "3"})
	}()
	until(t, "the first flow", func() bool { return strings.Contains(term.out.String(), "web:1001") })
	stop()
	lossless("r2", 7, 8, 9).serve(t, socket)
	if code := <-done; code != exitPartial || strings.Count(term.out.String(), "\n") != 3 {
		t.Errorf("exit code %d: %s%s", code, term.out.String(), term.err.String())
	}
}

func TestRecordIsReadBack(t *testing.T) {
	socket := socketPath(t)
	agent := agentThat(5, 2)
	agent.serve(t, socket)
	file := filepath.Join(t.TempDir(), "flows.json")
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("record", "-w", file, "--count", "5", "-n", "shop"); code != exitPartial {
		t.Fatalf("exit code %d: %s", code, term.err.String())
	}
	contains(t, "standard error", term.err.String(), "2 events lost in the kernel", "5 flows recorded")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if r := asked[*pb.WatchRequest](t, agent); !r.GetFollow() || r.GetLimit() != 5 || r.GetLast() != 0 || r.GetFilter().GetNamespaces()[0] != "shop" {
		t.Errorf("asked %v", r)
	}
	rows := []struct {
		line string
		code int
		want string
	}{
		{"", exitPartial, "1001 1002 1003 1004 1005"},
		{"--last 2", exitPartial, "1004 1005"},
		{"--count 4", exitPartial, "1001 1002 1003 1004"},
		{"--first 2", exitPartial, "1001 1002"},
		{"--from-port 1002,1004", exitPartial, "1002 1004"},
		{"--not --from-port 1002,1004 --all", exitPartial, "1001 1003 1005"},
		{"--pod other/web", exitPartial, ""},
		{"--fail-on-match --port 1003", exitMatch, "1003"},
	}
	for _, row := range rows {
		term := newTerminal(nil)
		args := append([]string{"observe", "--input-file", file}, strings.Fields(row.line)...)
		if code := term.run(args...); code != row.code {
			t.Errorf("%s: exit code %d: %s", row.line, code, term.err.String())
		}
		var got []string
		for line := range strings.Lines(term.out.String()) {
			_, rest, _ := strings.Cut(line, "web:")
			got = append(got, rest[:4])
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: flows %v, want %s", row.line, got, row.want)
		}
		if strings.Contains(term.err.String(), "-f waits") {
			t.Errorf("%s: a file has no more to wait for: %s", row.line, term.err.String())
		}
	}
}

func TestInputFile(t *testing.T) {
	dir := t.TempDir()
	socket := socketPath(t)
	agentThat(2, 0).serve(t, socket)
	source := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := source.run("observe", "-o", "jsonl"); code != exitDone {
		t.Fatal(source.err.String())
	}
	whole := source.out.String()
	rows := []struct {
		name, text string
		code       int
		flows      int
		want       string
	}{
		{"of observe -o jsonl", whole, exitDone, 2, ""},
		{"cut off", whole[:len(whole)-9], exitPartial, 1, "cut off in line 2"},
		{"no recording", "hello\n", exitError, 0, "line 1 is no flow"},
		{"empty", "", exitDone, 0, "no flow"},
	}
	for _, row := range rows {
		file := filepath.Join(dir, row.name)
		if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		fromFile, fromInput := newTerminal(nil), newTerminal(nil)
		fromInput.in = strings.NewReader(row.text)
		for _, term := range []*terminal{fromFile, fromInput} {
			path := file
			if term == fromInput {
				path = "-"
			}
			code := term.run("observe", "--input-file", path)
			if code != row.code || strings.Count(term.out.String(), "\n") != row.flows || !strings.Contains(term.err.String(), row.want) {
				t.Errorf("%s, %s: exit code %d: %s%s", row.name, path, code, term.out.String(), term.err.String())
			}
		}
	}
	term := newTerminal(nil)
	if code := term.run("observe", "--input-file", dir+"/none"); code != exitError || !strings.Contains(term.err.String(), dir+"/none") {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
}

func TestRecordLeavesAFileAlone(t *testing.T) {
	socket := socketPath(t)
	agentThat(1, 0).serve(t, socket)
	file := filepath.Join(t.TempDir(), "flows.json")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("record", "-w", file, "--count", "1"); code != exitError {
		t.Errorf("exit code %d", code)
	}
	contains(t, "the error", term.err.String(), file+" exists", "--overwrite")
	if text, _ := os.ReadFile(file); string(text) != "mine" {
		t.Errorf("it holds %q", text)
	}
	if code := term.run("record", "-w", file, "--count", "1", "--overwrite"); code != exitDone {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
	if text, _ := os.ReadFile(file); strings.Contains(string(text), "mine") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("it holds %q", text)
	}
	if code := term.run("record", "-w", filepath.Join(file, "x"), "--count", "1"); code != exitError {
		t.Errorf("exit code %d", code)
	}
}
