// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

// observed runs observe with a command line and returns what the agent was
// asked.
func observed(t *testing.T, line string) *pb.WatchRequest {
	t.Helper()
	agent := &fakeAgent{watch: func(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
		return stream.Send(&pb.WatchResponse{RunId: "r"})
	}}
	socket := socketPath(t)
	agent.serve(t, socket)
	term := newTerminal(map[string]string{"WEIR_SOCKET": socket})
	if code := term.run(append([]string{"observe"}, strings.Fields(line)...)...); code != exitDone {
		t.Fatalf("exit code %d: %s", code, term.err.String())
	}
	return asked[*pb.WatchRequest](t, agent)
}

func TestObserveRequest(t *testing.T) {
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(clock().Add(-d)) }
	rows := []struct {
		line string
		last uint32
		want *pb.FlowFilter
		at   *timestamppb.Timestamp
	}{
		{"", 20, &pb.FlowFilter{}, nil},
		{"--last 5", 5, &pb.FlowFilter{}, nil},
		{"--last 0", 0, &pb.FlowFilter{}, nil},
		{"--since 10m", 0, &pb.FlowFilter{}, ago(10 * time.Minute)},
		{"--since 10m --last 3", 3, &pb.FlowFilter{}, ago(10 * time.Minute)},
		{"--since 2026-11-22T11:00:00+02:00", 0, &pb.FlowFilter{}, ago(30 * time.Minute)},
		{"--pod web,other/db --pod x", 20, &pb.FlowFilter{Pods: []string{"web", "other/db", "x"}}, nil},
		{"-n shop --pod web", 20, &pb.FlowFilter{Namespaces: []string{"shop"}, Pods: []string{"shop/web"}}, nil},
		{"-n a,b --pod web --policy p", 20, &pb.FlowFilter{Namespaces: []string{"a", "b"}, Pods: []string{"a/web", "b/web"}, Policies: []string{"a/p", "b/p"}}, nil},
		{"-n a --pod b/web", 20, &pb.FlowFilter{Namespaces: []string{"a"}, Pods: []string{"b/web"}}, nil},
		{"--ip 10.0.0.9 --ip 10.1.2.3/8 --ip 2001:DB8::1", 20, &pb.FlowFilter{Ips: []string{"10.0.0.9", "10.0.0.0/8", "2001:db8::1"}}, nil},
		{"--ip ::ffff:10.0.0.9", 20, &pb.FlowFilter{Ips: []string{"10.0.0.9"}}, nil},
		{"--port 1,443,65535", 20, &pb.FlowFilter{Ports: []uint32{1, 443, 65535}}, nil},
		{"--protocol TCP,icmp,99", 20, &pb.FlowFilter{Protocols: []uint32{6, 1, 99}}, nil},
		{"--verdict denied,Audited", 20, &pb.FlowFilter{Verdicts: []pb.Verdict{pb.Verdict_VERDICT_DENIED, pb.Verdict_VERDICT_AUDITED}}, nil},
		{"--policy shop/allow-app", 20, &pb.FlowFilter{Policies: []string{"shop/allow-app"}}, nil},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			want := &pb.WatchRequest{Filter: row.want, Last: row.last, Since: row.at}
			if diff := cmp.Diff(want, observed(t, row.line), protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The protocol's 0 means all, or none; the flag's means all.
func TestKept(t *testing.T) {
	rows := []struct {
		flags observeFlags
		want  uint32
	}{
		{observeFlags{last: 20}, 20},
		{observeFlags{last: 20, follow: true}, 0},
		{observeFlags{last: 20, follow: true, since: "1m"}, 0},
		{observeFlags{last: 20, follow: true, lastGiven: true}, 20},
		{observeFlags{last: 0, lastGiven: true}, 0},
		{observeFlags{last: 0, lastGiven: true, follow: true}, math.MaxUint32},
	}
	for _, row := range rows {
		if got := row.flags.kept(); got != row.want {
			t.Errorf("%+v: %d, want %d", row.flags, got, row.want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	rows := []struct {
		line string
		want []string
	}{
		{"observe --ip x --port 0", []string{`--ip: "x"`, `--port: "0"`, "see: weir observe --help"}},
		{"observe --port 65536", []string{"1 to 65535"}},
		{"observe --protocol tpc", []string{"tcp, udp, sctp"}},
		{"observe --protocol 256", []string{"up to 255"}},
		{"observe --verdict dropped", []string{"allowed, denied or audited"}},
		{"observe --verdict unspecified", []string{"allowed, denied or audited"}},
		{"observe --since -5m", []string{"not above 0"}},
		{"observe --since yesterday", []string{"10m or 2h30m", "2026-11-22T09:30:00Z"}},
		{"observe --since 2027-01-01T00:00:00Z", []string{"in the future"}},
		{"observe --pod a/b/c", []string{"NAMESPACE/NAME"}},
		{"observe --pod /web", []string{"NAMESPACE/NAME"}},
		{"observe --policy shop/", []string{"NAMESPACE/NAME"}},
		{"observe -n shop/web", []string{"--namespace"}},
		{"observe --ip 10.0.0.0/33", []string{"CIDR"}},
		{"observe --last -1", []string{"--last", "see: weir observe --help"}},
		{"observe -o yaml", []string{"compact, wide or json"}},
		{"observe extra", []string{"takes no argument, got 1"}},
		{"observe --nope", []string{"--nope"}},
		{"status --timeout 0s", []string{"--timeout 0s is not above 0"}},
		{"status --socket=", []string{"--socket is empty"}},
		{"status -o wide", []string{"text or json"}},
		{"status x", []string{"takes no argument"}},
		{"endpoints x", []string{"takes no argument"}},
		{"obsreve", []string{`no command "obsreve"`, "did you mean observe?"}},
		{"policy", []string{"list or show"}},
		{"policy shw", []string{"did you mean show?", "see: weir policy --help"}},
		{"policy show", []string{"one policy, NAMESPACE/NAME"}},
		{"policy show allow-app", []string{"-n"}},
		{"policy show a/b/c", []string{"NAMESPACE/NAME"}},
		{"explain shop/web", []string{"SRC and DST"}},
		{"explain web db --port 80", []string{`SRC: "web"`, `DST: "db"`}},
		{"explain a/b c/d", []string{"--port 8080"}},
		{"explain a/b c/d --port x", []string{`"x" is not a port`}},
		{"explain a/b c/d --port 65536", []string{"0 to 65535"}},
		{"explain a/b c/d --port 80/tpc", []string{"tcp, udp, sctp"}},
		{"explain a/b c/d --port 80/icmp", []string{"has no ports"}},
		{"explain a/b c/d --port 80/udp --protocol tcp", []string{"two protocols"}},
		{"explain a/b c/d --protocol tcp", []string{"--port is missing"}},
		{"explain a/b c/d --port /tcp", []string{"--port N/tcp"}},
		{"version x", []string{"takes no argument"}},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			term := newTerminal(nil)
			if code := term.run(strings.Fields(row.line)...); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			contains(t, "the error", term.err.String(), append(row.want, "weir: ", "--help")...)
			if term.out.String() != "" {
				t.Errorf("standard output: %s", term.out.String())
			}
		})
	}
}
