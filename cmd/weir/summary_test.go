// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

func summary() *pb.SummarizeResponse {
	return &pb.SummarizeResponse{GroupCount: 1, Groups: []*pb.SummaryGroup{{
		Source:      &pb.Peer{Identity: pb.Identity_IDENTITY_POD, Namespace: "shop", Name: "web"},
		Destination: &pb.Peer{Identity: pb.Identity_IDENTITY_POD, Namespace: "shop", Name: "db"}, Protocol: 6, Port: 443,
		Verdict: pb.Verdict_VERDICT_DENIED, Reason: pb.Reason_REASON_NO_RULE, Direction: pb.Direction_DIRECTION_INGRESS,
		Policies:    []*pb.PolicyRef{{Namespace: "shop", Name: "default-deny"}},
		NearestMiss: &pb.NearestMiss{Rule: &pb.RuleRef{Policy: &pb.PolicyRef{Namespace: "shop", Name: "allow-app"}, Direction: 1}, Why: "port 443 is not 8080"},
		Counts:      &pb.SummaryCounts{Denials: 42},
	}}}
}

func TestSummarizeRequest(t *testing.T) {
	type s = []string
	drops := []pb.SummaryKey{1, 2, 3, 4, 8, 7, 5, 6}
	bad := []pb.Verdict{pb.Verdict_VERDICT_DENIED, pb.Verdict_VERDICT_AUDITED}
	rows := []struct {
		line string
		want *pb.SummarizeRequest
	}{
		{"top", &pb.SummarizeRequest{By: []pb.SummaryKey{1, 2, 3, 4}, Top: 20, Filter: &pb.FlowFilter{}}},
		{"top --by policy,src-workload,dst-namespace --top 3 --order bytes -n a", &pb.SummarizeRequest{By: []pb.SummaryKey{5, 9, 12}, Top: 3, Order: pb.SummaryOrder_SUMMARY_ORDER_BYTES, Filter: &pb.FlowFilter{Namespaces: s{"a"}}}},
		{"top --since 1m --not --port 53", &pb.SummarizeRequest{By: []pb.SummaryKey{1, 2, 3, 4}, Top: 20, Filter: &pb.FlowFilter{}, Exclude: []*pb.FlowFilter{{Ports: []uint32{53}}}, Since: timestamppb.New(clock().Add(-time.Minute))}},
		{"drops", &pb.SummarizeRequest{By: drops, Top: 20, Order: pb.SummaryOrder_SUMMARY_ORDER_DENIALS, Filter: &pb.FlowFilter{Verdicts: bad}}},
		{"drops --verdict denied --order newest --service a --label b", &pb.SummarizeRequest{By: drops, Top: 20, Order: pb.SummaryOrder_SUMMARY_ORDER_NEWEST,
			Filter: &pb.FlowFilter{Verdicts: bad[:1], Either: &peer{Services: s{"a"}}}, Include: []*pb.FlowFilter{{Either: &peer{Labels: s{"b"}}}}}},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			agent := &fakeAgent{summary: summary()}
			socket := socketPath(t)
			agent.serve(t, socket)
			term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
			if code := term.run(strings.Fields(row.line)...); code != exitDone {
				t.Fatalf("exit code %d: %s", code, term.err.String())
			}
			if diff := cmp.Diff(row.want, asked[*pb.SummarizeRequest](t, agent), protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSummariesShowAndEnd(t *testing.T) {
	partial := summary()
	partial.Missed = 3
	rows := []struct {
		line   string
		answer *pb.SummarizeResponse
		code   int
		want   []string
	}{
		{"drops", summary(), exitDone, []string{"42", "shop/web", "shop/db", "443/TCP", "isolated by shop/default-deny; nearest miss shop/allow-app ingress rule 0: port 443 is not 8080"}},
		{"drops -o json", summary(), exitDone, []string{`"groups":[{"source"`}},
		{"drops -o yaml", summary(), exitDone, []string{"groups:\n", "    port: 443\n"}},
		{"drops", &pb.SummarizeResponse{}, exitDone, []string{"nothing that is kept was denied"}},
		{"drops --exit-nonzero-if-empty", &pb.SummarizeResponse{}, exitEmpty, nil},
		{"drops --exit-nonzero-if-empty", summary(), exitDone, nil},
		{"drops", partial, exitPartial, []string{"3 flows overwritten while they were counted"}},
		{"top", summary(), exitDone, []string{"SOURCE", "DENIED", "all of 1 group"}},
		{"top --by rule", summary(), exitDone, []string{"RULE"}},
		{"top -o json", partial, exitPartial, []string{`"missed":"3"`}},
		{"top --exit-nonzero-if-empty", &pb.SummarizeResponse{}, exitEmpty, nil},
	}
	for _, row := range rows {
		socket := socketPath(t)
		(&fakeAgent{summary: row.answer}).serve(t, socket)
		term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
		if code := term.run(strings.Fields(row.line)...); code != row.code {
			t.Errorf("%s: exit code %d: %s", row.line, code, term.err.String())
		}
		contains(t, row.line, term.out.String()+term.err.String(), row.want...)
	}
}

// On a terminal top is shown anew until it is interrupted, an agent that goes
// away included, and fits the terminal.
func TestTopIsRefreshed(t *testing.T) {
	socket := socketPath(t)
	agent := &fakeAgent{summary: summary()}
	stop := agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket, "NO_COLOR": "1"})
	term.process.terminal = true
	term.process.size = func() (int, int) { return 80, 14 }
	finish := started(t, term, "top", "--interval", "100ms")
	pictures := func() int { return strings.Count(term.out.String(), clearScreen) }
	until(t, "three pictures", func() bool { return pictures() >= 3 })
	stop()
	until(t, "the loss is told", func() bool { return strings.Contains(term.out.String(), "not running") })
	(&fakeAgent{summary: summary()}).serve(t, socket)
	seen := strings.Count(term.out.String(), "shop/web")
	until(t, "the table is back", func() bool { return strings.Count(term.out.String(), "shop/web") > seen })
	if code := finish(); code != exitInterrupted || term.err.String() != "" {
		t.Errorf("exit code %d: %s", code, term.err.String())
	}
	agent.mu.Lock()
	defer agent.mu.Unlock()
	if top := agent.requests[0].(*pb.SummarizeRequest).GetTop(); top != 10 {
		t.Errorf("%d groups on a terminal of 14 lines", top)
	}
}

// Of several agents each has a line of its own, and none can move the cursor.
func TestTopTellsEachFailure(t *testing.T) {
	term := newTerminal(map[string]string{"NO_COLOR": "1"})
	failed := errors.Join(errors.New("agent of n1: away"), errors.New("agent of n2: \x1b[2J"))
	if err := (&session{process: term.process}).picture(&topFlags{}, nil, failed, nil); err != nil {
		t.Fatal(err)
	}
	_, told, _ := strings.Cut(term.out.String(), "\n")
	if want := "agent of n1: away\nagent of n2: \\x1b[2J\n"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestTopOnATerminalEndsWhenItMust(t *testing.T) {
	socket := socketPath(t)
	rows := []struct {
		args []string
		code int
	}{
		{[]string{"top", "--once"}, exitDone},
		{[]string{"top", "-o", "json"}, exitDone},
		{[]string{"top", "--socket", socket + "-none"}, exitError},
	}
	(&fakeAgent{summary: summary()}).serve(t, socket)
	for _, row := range rows {
		term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
		term.process.terminal = true
		if code := term.run(row.args...); code != row.code || strings.Contains(term.out.String(), clearScreen) {
			t.Errorf("%v: exit code %d: %s%s", row.args, code, term.out.String(), term.err.String())
		}
	}
}
