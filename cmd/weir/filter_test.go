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

type peer = pb.PeerFilter

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
		{"--until 10m", 0, &pb.FlowFilter{}, nil},
		{"--reply --policy shop/allow-app", 20, &pb.FlowFilter{Reply: new(true), Policies: []string{"shop/allow-app"}}, nil},
		{"--reply=false", 20, &pb.FlowFilter{Reply: new(false)}, nil},
		{"--from-pod web --to-namespace b -n a --to-pod db,c/x", 20, &pb.FlowFilter{Namespaces: []string{"a"}, Source: &peer{Pods: []string{"a/web"}}, Destination: &peer{Namespaces: []string{"b"}, Pods: []string{"b/db", "c/x"}}}, nil},
		{"--from-label app=web,tier!=db --from-ip 10.0.0.0/8 --from-port 1", 20, &pb.FlowFilter{Source: &peer{Labels: []string{"app=web,tier!=db"}, Ips: []string{"10.0.0.0/8"}, Ports: []uint32{1}}}, nil},
		{"--to-service shop/db --to-identity world --from-workload a/Job/b,c", 20, &pb.FlowFilter{Destination: &peer{Services: []string{"shop/db"}, Identities: []pb.Identity{4}}, Source: &peer{Workloads: []string{"a/Job/b", "c"}}}, nil},
		{"-n shop -l app=web --workload web", 20, &pb.FlowFilter{Namespaces: []string{"shop"}, Either: &peer{Namespaces: []string{"shop"}, Labels: []string{"app=web"}, Workloads: []string{"shop/web"}}}, nil},
		{"--reason no-rule,SPOOFED --drop-reason revoked", 20, &pb.FlowFilter{Reasons: []pb.Reason{32, 34, 41}}, nil},
		{"--rule a,shop/b:egress,shop/c:ingress:2", 20, &pb.FlowFilter{Rules: []*pb.RuleFilter{{Policy: "a"}, {Policy: "shop/b", Direction: 2}, {Policy: "shop/c", Direction: 1, Index: new(uint32(2))}}}, nil},
		{"--traffic-direction egress --protocol 0", 20, &pb.FlowFilter{Directions: []pb.Direction{2}, Protocols: []uint32{0}}, nil},
		{"--tcp-flags syn+!ack,RST", 20, &pb.FlowFilter{TcpFlags: []*pb.TcpFlagFilter{{Set: 2, Unset: 16}, {Set: 4}}}, nil},
		{"--kind closed,new --end-reason rst --id 0xff,7", 20, &pb.FlowFilter{Kinds: []pb.FlowKind{16, 1}, EndReasons: []pb.EndReason{2}, Ids: []uint64{255, 7}}, nil},
		{"--interface veth1 --node a,b", 20, &pb.FlowFilter{Interfaces: []string{"veth1"}, Nodes: []string{"a", "b"}}, nil},
		{"--policy shop/allow-app", 20, &pb.FlowFilter{Policies: []string{"shop/allow-app"}}, nil},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			want := &pb.WatchRequest{Filter: row.want, Last: row.last, Since: row.at}
			if strings.HasPrefix(row.line, "--until") {
				want.Until = ago(10 * time.Minute)
			}
			if diff := cmp.Diff(want, observed(t, row.line), protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What takes more than one filter, and what bounds the number of flows.
func TestObserveIncludesExcludesAndBounds(t *testing.T) {
	rows := []struct {
		line string
		want *pb.WatchRequest
	}{
		{"--service db --label app=web", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{Either: &peer{Services: []string{"db"}}},
			Include: []*pb.FlowFilter{{Either: &peer{Labels: []string{"app=web"}}}}}},
		{"-n a --identity world -l b=c", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{Namespaces: []string{"a"}, Either: &peer{Identities: []pb.Identity{4}}},
			Include: []*pb.FlowFilter{{Either: &peer{Namespaces: []string{"a"}, Labels: []string{"b=c"}}}}}},
		{"--not --port 53,443 --pod web", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{Pods: []string{"web"}}, Exclude: []*pb.FlowFilter{{Ports: []uint32{53, 443}}}}},
		{"--not --pod web --not -n kube-system -n shop", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{Namespaces: []string{"shop"}},
			Exclude: []*pb.FlowFilter{{Pods: []string{"shop/web"}}, {Namespaces: []string{"kube-system"}}}}},
		{"--not --to-service a --not --identity node --not --label x", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{},
			Exclude: []*pb.FlowFilter{{Destination: &peer{Services: []string{"a"}}}, {Either: &peer{Identities: []pb.Identity{2}}}, {Either: &peer{Labels: []string{"x"}}}}}},
		{"--not --reply", &pb.WatchRequest{Last: 20, Filter: &pb.FlowFilter{}, Exclude: []*pb.FlowFilter{{Reply: new(true)}}}},
		{"--first 5", &pb.WatchRequest{Filter: &pb.FlowFilter{}, Limit: 5}},
		{"--first 5 --count 3", &pb.WatchRequest{Filter: &pb.FlowFilter{}, Limit: 3}},
		{"--last 5 --count 3", &pb.WatchRequest{Filter: &pb.FlowFilter{}, Last: 5, Limit: 3}},
		{"--all", &pb.WatchRequest{Filter: &pb.FlowFilter{}}},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			if diff := cmp.Diff(row.want, observed(t, row.line), protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The protocol's 0 means all, or none; the flag's means all.
func TestKept(t *testing.T) {
	rows := []struct {
		flags selection
		want  uint32
	}{
		{selection{last: 20}, 20},
		{selection{last: 20, follow: true}, 0},
		{selection{last: 20, follow: true, window: window{since: "1m"}}, 0},
		{selection{last: 20, window: window{until: "1m"}}, 0},
		{selection{last: 20, follow: true, lastGiven: true}, 20},
		{selection{last: 20, first: 5, firstGiven: true}, 0},
		{selection{last: 0, lastGiven: true}, 0},
		{selection{last: 0, lastGiven: true, follow: true}, math.MaxUint32},
		{selection{last: 20, all: true}, 0},
		{selection{last: 20, all: true, follow: true}, math.MaxUint32},
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
		{"observe --verdict dropped", []string{"denied, allowed or audited"}},
		{"observe --verdict unspecified", []string{"denied, allowed or audited"}},
		{"observe --since -5m", []string{"not above 0"}},
		{"observe --since yesterday", []string{"10m or 2h30m", "2026-11-22T09:30:00Z"}},
		{"observe --since 2027-01-01T00:00:00Z", []string{"in the future"}},
		{"observe --pod a/b/c", []string{"NAMESPACE/NAME"}},
		{"observe --pod /web", []string{"NAMESPACE/NAME"}},
		{"observe --policy shop/", []string{"NAMESPACE/NAME"}},
		{"observe -n shop/web", []string{"--namespace"}},
		{"observe --ip 10.0.0.0/33", []string{"CIDR"}},
		{"observe --last -1", []string{"--last", "see: weir observe --help"}},
		{"observe -o xml", []string{"compact, wide, table, dict, json, jsonl, yaml"}},
		{"observe --not", []string{"--not stands before the filter"}},
		{"observe --not --since 5m", []string{"--not stands before the filter"}},
		{"observe --not --not --port 1", []string{"twice"}},
		{"observe --not --port 0", []string{`--port: "0"`}},
		{"observe -l !", []string{"--label", "app=web"}},
		{"observe --from-label=", []string{"selects every pod"}},
		{"observe --from-ip x --to-port y", []string{`--from-ip: "x"`, `--to-port: "y"`}},
		{"observe --identity pods", []string{"pod, node, service or world"}},
		{"observe --identity world --service a --label b", []string{"--identity", "--from-label"}},
		{"observe --to-service a --to-pod b", []string{"a Service has neither labels"}},
		{"observe --workload a/b/c/d", []string{"NAMESPACE/KIND/NAME"}},
		{"observe --reason x", []string{"no-rule", "spoofed"}},
		{"observe --drop-reason unknown", []string{"no-rule"}},
		{"observe --rule a:b", []string{"ingress or egress"}},
		{"observe --rule a:ingress:x", []string{"index", "0"}},
		{"observe --rule a:ingress:0:1", []string{"shop/allow-app:ingress:0"}},
		{"observe --traffic-direction up", []string{"ingress or egress"}},
		{"observe --tcp-flags syn+sin", []string{`"sin" is not a TCP flag`}},
		{"observe --tcp-flags syn+!syn", []string{"both set and not set"}},
		{"observe --reply=maybe", []string{"true nor false"}},
		{"observe --kind old", []string{"new, revoked, changed, closed or active"}},
		{"observe --end-reason bored", []string{"fin, rst, expired"}},
		{"observe --id 0", []string{"denials have none"}},
		{"observe --interface=", []string{"--interface"}},
		{"observe --first 3 --last 3", []string{"exclude each other"}},
		{"observe --all --last 3", []string{"exclude each other"}},
		{"observe --first 0", []string{"--all"}},
		{"observe --first 3 -f", []string{"--count"}},
		{"observe --count 0", []string{"--count 0"}},
		{"observe --since 5m --until 10m", []string{"--until 10m is not after --since 5m"}},
		{"observe --until 2027-01-01T00:00:00Z", []string{"in the future"}},
		{"observe --timeout 0s", []string{"--timeout is not above 0"}},
		{"observe --fail-on-match --exit-nonzero-if-empty", []string{"leave one out"}},
		{"observe -f --input-file x", []string{"leave out -f"}},
		{"record", []string{"-w FILE"}},
		{"record -w x --first 3", []string{"--count"}},
		{"top --by src,nope", []string{`"nope" is no key`, "src-workload"}},
		{"top --by src,src", []string{"twice"}},
		{"top --order up", []string{"flows, packets, bytes"}},
		{"top --top 0", []string{"--top 0 is not 1 to 10000"}},
		{"top --interval 1ms", []string{"below 100ms"}},
		{"top --since 1 --not", []string{"--since", "--not"}},
		{"drops --order up -o xml", []string{"flows, packets, bytes", "text, json or yaml"}},
		{"observe extra", []string{"takes no argument, got 1"}},
		{"observe --nope", []string{"--nope"}},
		{"status --request-timeout 0s", []string{"--request-timeout 0s is not above 0"}},
		{"status --socket=", []string{"--socket is empty"}},
		{"status -o wide", []string{"text, json or yaml"}},
		{"status x", []string{"takes no argument"}},
		{"endpoints x", []string{"takes no argument"}},
		{"obsreve", []string{`no command "obsreve"`, "did you mean observe?"}},
		{"policy", []string{"list, show or status"}},
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
