// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/weirnet/weir/api/v1"
)

func sampleAgent() *fakeAgent {
	policy := &pb.Policy{Ref: &pb.PolicyRef{Namespace: "shop", Name: "allow-app"}, Subjects: "app=db", IsolatesIngress: true}
	return &fakeAgent{
		status: func(context.Context) (*pb.StatusResponse, error) {
			return &pb.StatusResponse{Version: "v9", Node: "node-a"}, nil
		},
		endpoints: &pb.EndpointsResponse{Endpoints: []*pb.Endpoint{
			{Interface: "veth1", Namespace: "shop", Pod: "web", State: "enforced"},
			{Interface: "veth2", Namespace: "bank", Pod: "api", State: "enforced"},
		}},
		list:    &pb.ListPoliciesResponse{Policies: []*pb.Policy{policy}},
		get:     &pb.GetPolicyResponse{Policy: policy},
		explain: &pb.ExplainResponse{Verdict: pb.Verdict_VERDICT_DENIED},
	}
}

func TestCommandsShowTheAnswer(t *testing.T) {
	rows := []struct {
		line string
		want []string
	}{
		{"status", []string{"Ready", "NO", "node-a", "v9"}},
		{"endpoints", []string{"shop/web", "bank/api"}},
		{"policy list", []string{"shop/allow-app"}},
		{"policy show shop/allow-app", []string{"shop/allow-app", "app=db"}},
		{"explain shop/web shop/db --port 5432", []string{"DENIED", "shop/web -> shop/db", "TCP port 5432"}},
		{"version", []string{"weir        ", "weir-agent  v9 on node-a"}},
	}
	socket := socketPath(t)
	sampleAgent().serve(t, socket)
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			term := newTerminal(nil)
			code := term.run(append(strings.Fields(row.line), "--socket", socket)...)
			if code != exitDone || term.err.String() != "" {
				t.Fatalf("exit code %d: %s", code, term.err.String())
			}
			contains(t, "the output", term.out.String(), row.want...)
		})
	}
}

func TestCommandsWriteJSON(t *testing.T) {
	rows := []struct{ line, field string }{
		{"status", "node"},
		{"endpoints", "endpoints"},
		{"policy list", "policies"},
		{"policy show shop/allow-app", "isolates_ingress"},
		{"explain shop/web shop/db --port 5432", "verdict"},
	}
	socket := socketPath(t)
	sampleAgent().serve(t, socket)
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
			if code := term.run(append(strings.Fields(row.line), "-o", "json")...); code != exitDone {
				t.Fatalf("exit code %d: %s", code, term.err.String())
			}
			var object map[string]any
			if err := json.Unmarshal([]byte(term.out.String()), &object); err != nil {
				t.Fatal(err)
			}
			if _, has := object[row.field]; !has {
				t.Errorf("no field %s in %s", row.field, term.out.String())
			}
		})
	}
}

func TestEndpointsOfOneNamespace(t *testing.T) {
	socket := socketPath(t)
	sampleAgent().serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run("endpoints", "-n", "bank"); code != exitDone {
		t.Fatal(term.err.String())
	}
	if out := term.out.String(); strings.Contains(out, "shop/web") || !strings.Contains(out, "bank/api") {
		t.Error(out)
	}
}

func TestExplainRequest(t *testing.T) {
	rows := []struct {
		line string
		want *pb.ExplainRequest
	}{
		{"shop/web shop/db --port 5432", &pb.ExplainRequest{Source: "shop/web", Destination: "shop/db", Protocol: 6, Port: 5432}},
		{"-n shop web bank/api --port 53/UDP", &pb.ExplainRequest{Source: "shop/web", Destination: "bank/api", Protocol: 17, Port: 53}},
		{"shop/web 203.0.113.7 --port 443 --protocol tcp", &pb.ExplainRequest{Source: "shop/web", Destination: "203.0.113.7", Protocol: 6, Port: 443}},
		{"2001:DB8::1 ::ffff:10.0.0.1 --port 9/sctp", &pb.ExplainRequest{Source: "2001:db8::1", Destination: "10.0.0.1", Protocol: 132, Port: 9}},
		{"shop/web shop/db --protocol icmp", &pb.ExplainRequest{Source: "shop/web", Destination: "shop/db", Protocol: 1}},
		{"shop/web shop/db --protocol 47", &pb.ExplainRequest{Source: "shop/web", Destination: "shop/db", Protocol: 47}},
		{"shop/web shop/db --port 0", &pb.ExplainRequest{Source: "shop/web", Destination: "shop/db", Protocol: 6}},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			agent := sampleAgent()
			socket := socketPath(t)
			agent.serve(t, socket)
			term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
			if code := term.run(append([]string{"explain"}, strings.Fields(row.line)...)...); code != exitDone {
				t.Fatal(term.err.String())
			}
			if diff := cmp.Diff(row.want, asked[*pb.ExplainRequest](t, agent), protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPolicyRequests(t *testing.T) {
	agent := sampleAgent()
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if term.run("policy", "show", "-n", "shop", "allow-app") != exitDone || term.run("policy", "list", "-n", "bank") != exitDone {
		t.Fatal(term.err.String())
	}
	if r := asked[*pb.GetPolicyRequest](t, agent); r.GetNamespace() != "shop" || r.GetName() != "allow-app" {
		t.Errorf("get: %v", r)
	}
	if r := asked[*pb.ListPoliciesRequest](t, agent); r.GetNamespace() != "bank" {
		t.Errorf("list: %v", r)
	}
}

// silentListener takes connections and never answers.
func silentListener(t *testing.T, socket string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
}

func TestErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	silent := filepath.Join(dir, "silent")
	silentListener(t, silent)
	empty := filepath.Join(dir, "empty")
	(&fakeAgent{}).serve(t, empty)
	early := filepath.Join(dir, "early")
	(&fakeAgent{status: func(context.Context) (*pb.StatusResponse, error) {
		return nil, status.Error(codes.FailedPrecondition, "not all is listed")
	}}).serve(t, early)
	hostile := filepath.Join(dir, "hostile")
	(&fakeAgent{status: func(context.Context) (*pb.StatusResponse, error) {
		return nil, status.Error(codes.InvalidArgument, "no\x1b[2J\nsuch")
	}}).serve(t, hostile)

	rows := []struct {
		line string
		want []string
	}{
		{"status --socket " + dir + "/none", []string{"not running", dir + "/none", "--socket"}},
		{"observe --socket " + dir + "/none", []string{"not running", "--socket"}},
		{"observe -f --socket " + dir + "/none", []string{"not running", "--socket"}},
		{"status --socket " + file, []string{file, "--socket"}},
		{"status --request-timeout 100ms --socket " + silent, []string{"--request-timeout"}},
		{"observe --request-timeout 100ms --socket " + silent, []string{"100ms", "--request-timeout"}},
		{"observe -f --request-timeout 100ms --socket " + silent, []string{"100ms", "--request-timeout"}},
		{"status --socket " + empty, []string{"weir-agent failed", "log"}},
		{"policy show shop/x --socket " + empty, []string{"no policy shop/x", "weir policy list -n shop"}},
		{"explain shop/x shop/y --port 1 --socket " + empty, []string{"no pod shop/x", "weir endpoints"}},
		{"version --socket " + dir + "/none", []string{"not running", "--client"}},
		{"status --socket " + early, []string{"cannot answer yet: not all is listed", "status tells why"}},
		{"status --socket " + hostile, []string{`no\x1b[2J\x0asuch`, "--help"}},
	}
	for _, row := range rows {
		t.Run(strings.ReplaceAll(row.line, dir, ""), func(t *testing.T) {
			term := newTerminal(nil)
			if code := term.run(strings.Fields(row.line)...); code != exitError {
				t.Errorf("exit code %d, want %d", code, exitError)
			}
			contains(t, "the error", term.err.String(), append(row.want, "weir: ")...)
			if strings.Count(term.err.String(), "\n") != 1 {
				t.Errorf("not one line: %q", term.err.String())
			}
		})
	}
}

func TestInterruptOfACall(t *testing.T) {
	called := make(chan struct{})
	agent := &fakeAgent{status: func(ctx context.Context) (*pb.StatusResponse, error) {
		close(called)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	ctx, interrupt := context.WithCancel(context.Background())
	go func() {
		<-called
		interrupt()
	}()
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := run(ctx, term.process, []string{"status"}); code != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, term.err.String())
	}
	if term.err.String() != "" {
		t.Errorf("an interrupt is no error: %s", term.err.String())
	}
}

func TestColorOnlyWhereItIsWanted(t *testing.T) {
	rows := []struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		{true, nil, true},
		{false, nil, false},
		{true, map[string]string{"NO_COLOR": "1"}, false},
		{true, map[string]string{"NO_COLOR": ""}, true},
		{true, map[string]string{"TERM": "dumb"}, false},
		{true, map[string]string{"TERM": "xterm"}, true},
	}
	for _, row := range rows {
		term := newTerminal(row.env)
		term.process.terminal = row.terminal
		if got := (&session{process: term.process}).style().Color; got != row.want {
			t.Errorf("%+v: colour %t", row, got)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if isTerminal(writer) {
		t.Error("a pipe is taken for a terminal")
	}
}

func TestProgramName(t *testing.T) {
	rows := []struct{ argv0, want string }{
		{"weir", "weir"},
		{"/usr/local/bin/weir", "weir"},
		{"/usr/local/bin/kubectl-weir", "kubectl weir"},
		{"kubectl-weir.exe", "kubectl weir"},
		{"weir-linux-arm64", "weir"},
		{"", "weir"},
	}
	for _, row := range rows {
		if got := programName(row.argv0); got != row.want {
			t.Errorf("%q: %q, want %q", row.argv0, got, row.want)
		}
	}
}

// Each command has a help text with an example that names the program as the
// user called it.
func TestHelp(t *testing.T) {
	lines := []string{"", "observe", "drops", "top", "record", "explain", "status", "endpoints", "policy list", "policy show", "version"}
	for argv0, name := range map[string]string{"weir": "weir", "kubectl-weir": "kubectl weir"} {
		for _, line := range lines {
			term := newTerminal(nil)
			term.process.name = argv0
			if code := term.run(append(strings.Fields(line), "--help")...); code != exitDone {
				t.Errorf("%s %s --help: exit code %d", name, line, code)
			}
			contains(t, line, term.out.String(), "Examples:\n  "+name+" ", "Usage:\n  "+strings.TrimSpace(name+" "+line))
		}
	}
}

func TestKubectlNamesItselfInErrors(t *testing.T) {
	term := newTerminal(nil)
	term.process.name = "/bin/kubectl-weir"
	term.run("observe", "--port", "0")
	contains(t, "the error", term.err.String(), "kubectl weir: --port", "see: kubectl weir observe --help")
}

// The examples of the help must be command lines that parse.
func TestExamplesParse(t *testing.T) {
	socket := socketPath(t)
	agent := sampleAgent()
	agent.summary = &pb.SummarizeResponse{}
	interrupt := func() {}
	agent.watch = func(r *pb.WatchRequest, stream watchStream) error {
		defer interrupt()
		return stream.Send(response("r", 1))
	}
	agent.serve(t, socket)
	t.Chdir(t.TempDir()) // for files that examples write
	if err := os.WriteFile("flows.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	commands := []*cobra.Command{newRoot(&session{process: newTerminal(nil).process})}
	count := 0
	for len(commands) > 0 {
		c := commands[0]
		commands = append(commands[1:], c.Commands()...)
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			line, _, _ = strings.Cut(line, "|")
			args := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "weir "))
			var ctx context.Context
			ctx, interrupt = context.WithCancel(context.Background())
			term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
			if code := run(ctx, term.process, args); code == exitUsage || code == exitError {
				t.Errorf("%s: exit code %d: %s", line, code, term.err.String())
			}
			interrupt()
			count++
		}
	}
	if count < 35 {
		t.Errorf("only %d examples were found", count)
	}
}

func TestVersionOfClient(t *testing.T) {
	term := newTerminal(nil)
	if code := term.run("version", "--client"); code != exitDone || !strings.HasPrefix(term.out.String(), "weir        ") {
		t.Errorf("exit code %d: %q %q", code, term.out.String(), term.err.String())
	}
	rows := []struct {
		info *debug.BuildInfo
		ok   bool
		want string
	}{
		{nil, false, "unknown"},
		{&debug.BuildInfo{GoVersion: "go1"}, true, "devel, go1"},
		{&debug.BuildInfo{GoVersion: "go1", Main: debug.Module{Version: "v1.2.3"}}, true, "v1.2.3, go1"},
		{&debug.BuildInfo{GoVersion: "go1", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}, true, "devel abc modified, go1"},
	}
	for _, row := range rows {
		if got := buildVersion(row.info, row.ok); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}
