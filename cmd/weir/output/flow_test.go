// SPDX-License-Identifier: Apache-2.0

package output

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

const (
	ingress = pb.Direction_DIRECTION_INGRESS
	egress  = pb.Direction_DIRECTION_EGRESS

	denied  = pb.Verdict_VERDICT_DENIED
	allowed = pb.Verdict_VERDICT_ALLOWED
	audited = pb.Verdict_VERDICT_AUDITED
)

func pod(name string, port uint32) *pb.Peer {
	return &pb.Peer{Ip: "10.0.0.9", Port: port, Identity: pb.Identity_IDENTITY_POD, Namespace: "shop", Name: name}
}

func outside(identity pb.Identity, ip string, port uint32) *pb.Peer {
	return &pb.Peer{Ip: ip, Port: port, Identity: identity}
}

func service(name string, port uint32) *pb.Peer {
	return &pb.Peer{Ip: "10.96.0.10", Port: port, Identity: pb.Identity_IDENTITY_SERVICE, Namespace: "shop", Name: name}
}

func policyRef(name string) *pb.PolicyRef { return &pb.PolicyRef{Namespace: "shop", Name: name} }

func policyRefs(names ...string) []*pb.PolicyRef {
	refs := make([]*pb.PolicyRef, len(names))
	for i, name := range names {
		refs[i] = policyRef(name)
	}
	return refs
}

func rule(name string, d pb.Direction, index uint32) *pb.RuleRef {
	return &pb.RuleRef{Policy: policyRef(name), Direction: d, Index: index}
}

// flow is a TCP flow with a SYN; change sets what the row is about.
func flow(v pb.Verdict, r pb.Reason, d pb.Direction, from, to *pb.Peer, change func(*pb.Flow)) *pb.Flow {
	f := &pb.Flow{
		Kind: pb.FlowKind_FLOW_KIND_NEW, Verdict: v, Reason: r, Direction: d, Protocol: protoTCP,
		Source: from, Destination: to, TcpFlags: 2, Length: 60, Interface: "veth7", Node: "node-a",
	}
	if change != nil {
		change(f)
	}
	return f
}

func sampleFlows() []*pb.Flow {
	world, node := pb.Identity_IDENTITY_WORLD, pb.Identity_IDENTITY_NODE
	list := []*pb.Flow{
		flow(allowed, pb.Reason_REASON_RULE, ingress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) { f.Rule = rule("allow-app", ingress, 0) }),
		flow(denied, pb.Reason_REASON_NO_RULE, ingress, pod("web", 41236), pod("db", 443), func(f *pb.Flow) {
			f.Isolating = policyRefs("default-deny")
			f.NearestMiss = &pb.NearestMiss{Rule: rule("allow-app", ingress, 0), Why: "port 443 is not 8080"}
			f.Repeats = 41
		}),
		flow(denied, pb.Reason_REASON_NO_RULE, egress, pod("web", 41238), outside(world, "203.0.113.7", 443), func(f *pb.Flow) {
			f.Isolating = policyRefs("a", "b", "c", "d", "e")
		}),
		flow(audited, pb.Reason_REASON_NO_RULE, ingress, outside(world, "2001:db8::7", 50000), pod("web", 8080), func(f *pb.Flow) {
			f.Isolating = policyRefs("default-deny")
		}),
		flow(allowed, pb.Reason_REASON_NOT_ISOLATED, egress, pod("web", 5353), pod("dns", 53), func(f *pb.Flow) {
			f.Protocol, f.TcpFlags = protoUDP, 0
			f.Service = service("dns", 53)
		}),
		flow(allowed, pb.Reason_REASON_FROM_NODE, ingress, outside(node, "10.0.0.1", 33000), pod("web", 8080), nil),
		flow(allowed, pb.Reason_REASON_DEFERRED, egress, pod("web", 40000), service("db", 5432), nil),
		flow(denied, pb.Reason_REASON_REVOKED, ingress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) {
			f.Kind, f.TcpFlags = pb.FlowKind_FLOW_KIND_REVOKED, 0x18
		}),
		flow(allowed, pb.Reason_REASON_RULE, ingress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) {
			f.Kind, f.Rule, f.Reply, f.TcpFlags = pb.FlowKind_FLOW_KIND_CHANGED, rule("allow-all", ingress, 3), true, 0x10
		}),
		flow(denied, pb.Reason_REASON_DENY_RULE, egress, pod("web", 41240), pod("db", 22), func(f *pb.Flow) { f.Rule = rule("no-ssh", egress, 0) }),
		flow(denied, pb.Reason_REASON_SPOOFED, egress, outside(world, "198.51.100.1", 0), pod("db", 0), func(f *pb.Flow) {
			f.Protocol, f.IcmpType, f.TcpFlags = protoICMP, 8, 0
		}),
		flow(denied, pb.Reason_REASON_UNSUPPORTED, egress, &pb.Peer{}, &pb.Peer{}, func(f *pb.Flow) {
			f.Protocol, f.EtherType, f.TcpFlags = 0, 0x88cc, 0
		}),
		flow(denied, pb.Reason_REASON_NO_RULE, ingress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) {
			f.Kind, f.Isolating = pb.FlowKind_FLOW_KIND_REVOKED, policyRefs("default-deny")
		}),
		flow(allowed, pb.Reason_REASON_NOT_ISOLATED, ingress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) {
			f.Kind = pb.FlowKind_FLOW_KIND_CHANGED
		}),
		flow(denied, pb.Reason_REASON_SPOOFED, egress, pod("victim", 1), pod("db", 5432), nil),
		flow(allowed, pb.Reason_REASON_RULE, egress, pod("web", 41234), pod("db", 5432), func(f *pb.Flow) {
			f.Kind, f.Rule, f.Length, f.TcpFlags = pb.FlowKind_FLOW_KIND_CLOSED, rule("out", egress, 0), 0, 0x1b
			f.Id, f.EndReason, f.Duration = 0xabc, pb.EndReason_END_REASON_FIN, durationpb.New(1234567*time.Microsecond)
			f.Start = timestamppb.New(time.Date(2026, 11, 22, 3, 4, 3, 0, time.UTC))
			f.Sent, f.Answered = &pb.Traffic{Packets: 12, Bytes: 3456, TcpFlags: 0x1b}, &pb.Traffic{Packets: 1, Bytes: 52, TcpFlags: 0x12}
			f.Source.Workload, f.Source.Labels = &pb.Workload{Kind: "Deployment", Name: "web"}, map[string]string{"tier": "a", "app": "web\n"}
		}),
		flow(allowed, pb.Reason_REASON_NOT_ISOLATED, egress, pod("web", 41234), service("db", 5432), func(f *pb.Flow) {
			f.Kind, f.Length, f.Id, f.Duration, f.Sample = pb.FlowKind_FLOW_KIND_ACTIVE, 0, 0xabd, durationpb.New(90*time.Second), 8
			f.Sent, f.Answered = &pb.Traffic{Packets: 1 << 40, Bytes: 1 << 50}, &pb.Traffic{}
		}),
		{},
	}
	for i, f := range list[:len(list)-1] {
		f.Time = timestamppb.New(time.Date(2026, 11, 22, 3, 4, 5, i*1_000_000, time.UTC))
		f.Sequence = uint64(i + 1)
	}
	return list
}

func TestFlowForms(t *testing.T) {
	rows := []struct {
		file   string
		format Format
		style  Style
	}{
		{"flows-compact.golden", Compact, Style{}},
		{"flows-wide.golden", Wide, Style{Location: time.FixedZone("here", 2*3600)}},
		{"flows-color.golden", Compact, Style{Color: true}},
		{"flows-table.golden", Table, Style{}},
		{"flows-dict.golden", Dict, Style{}},
		{"flows-json.golden", JSON, Style{}},
		{"flows-json.golden", JSONLines, Style{}},
		{"flows-yaml.golden", YAML, Style{}},
	}
	for _, row := range rows {
		t.Run(row.file, func(t *testing.T) {
			golden(t, row.file, func(b *strings.Builder) error {
				return NewFlows(b, row.format, row.style).Write(sampleFlows())
			})
		})
	}
}

func TestColumnsStayFromBatchToBatch(t *testing.T) {
	var b strings.Builder
	w := NewFlows(&b, Compact, Style{})
	long := flow(allowed, pb.Reason_REASON_NOT_ISOLATED, egress, pod("a-rather-long-name", 1), pod("db", 1), nil)
	short := flow(denied, pb.Reason_REASON_SPOOFED, egress, pod("a", 1), pod("db", 1), nil)
	for _, f := range []*pb.Flow{short, long, short} {
		if err := w.Write([]*pb.Flow{f}); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(b.String(), "\n")
	for _, mark := range []string{"shop/", "->"} {
		x, y, z := strings.Index(lines[0], mark), strings.Index(lines[1], mark), strings.Index(lines[2], mark)
		if y != z || mark == "shop/" && x != y {
			t.Errorf("%q at %d, %d and %d:\n%s", mark, x, y, z, b.String())
		}
	}
}

func TestOneLongNameDoesNotWidenTheColumn(t *testing.T) {
	var b strings.Builder
	long := flow(allowed, pb.Reason_REASON_NOT_ISOLATED, egress, pod(strings.Repeat("x", 200), 1), pod("db", 1), nil)
	short := flow(allowed, pb.Reason_REASON_NOT_ISOLATED, egress, pod("a", 1), pod("db", 1), nil)
	if err := NewFlows(&b, Compact, Style{}).Write([]*pb.Flow{long, short}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if at := strings.Index(lines[1], "->"); at > 100 {
		t.Errorf("the arrow of a short line stands at %d", at)
	}
}

func TestJSONLineIsTheMessage(t *testing.T) {
	for _, f := range append(sampleFlows(), hostile(&pb.Flow{}).(*pb.Flow)) {
		var b strings.Builder
		if err := NewFlows(&b, JSON, Style{}).Write([]*pb.Flow{f}); err != nil {
			t.Fatal(err)
		}
		var back pb.Flow
		if err := protojson.Unmarshal([]byte(b.String()), &back); err != nil {
			t.Fatalf("%s: %v", b.String(), err)
		}
		if !proto.Equal(f, &back) {
			t.Errorf("read back as another flow: %s", b.String())
		}
		if !json.Valid([]byte(b.String())) || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("not one line of JSON: %q", b.String())
		}
	}
}

func TestJSONOfInvalidTextIsAnError(t *testing.T) {
	f := &pb.Flow{Interface: "\xff", Sequence: 7}
	var b strings.Builder
	err := NewFlows(&b, JSON, Style{}).Write([]*pb.Flow{f})
	if err == nil || !strings.Contains(err.Error(), "flow 7") {
		t.Errorf("error %v does not name the flow", err)
	}
}

type brokenWriter struct{}

var errDisk = errors.New("no space left on device")

func (brokenWriter) Write([]byte) (int, error) { return 0, errDisk }

func TestWriteErrorsAreTold(t *testing.T) {
	rows := map[string]error{
		"flows":       NewFlows(brokenWriter{}, Compact, Style{}).Write(sampleFlows()),
		"dict":        NewFlows(brokenWriter{}, Dict, Style{}).Write(sampleFlows()),
		"json":        WriteJSON(brokenWriter{}, sampleStatus()),
		"yaml":        WriteYAML(brokenWriter{}, sampleStatus()),
		"top":         Top(brokenWriter{}, &pb.SummarizeResponse{}, nil, Style{}),
		"drops":       Drops(brokenWriter{}, &pb.SummarizeResponse{}, Style{}),
		"status":      Status(brokenWriter{}, sampleStatus(), time.Time{}, Style{}),
		"endpoints":   Endpoints(brokenWriter{}, sampleEndpoints(), Style{}),
		"policies":    Policies(brokenWriter{}, nil, Style{}),
		"policy":      Policy(brokenWriter{}, samplePolicy(), Style{}),
		"explanation": Explanation(brokenWriter{}, &pb.ExplainRequest{}, sampleExplanation(), Style{}),
	}
	for name, err := range rows {
		if !errors.Is(err, errDisk) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A reason without words would show as a bare number at three in the morning.
func TestEveryReasonHasWords(t *testing.T) {
	for number, name := range pb.Reason_name {
		r := pb.Reason(number)
		if r == pb.Reason_REASON_UNKNOWN {
			continue
		}
		text := decision(&pb.Flow{Reason: r}, 0)
		if strings.HasPrefix(text, "reason ") {
			t.Errorf("%s has no words: %q", name, text)
		}
	}
	if got := decision(&pb.Flow{Reason: 99}, 0); got != "reason 99" {
		t.Errorf("a reason of a newer agent: %q", got)
	}
}

func TestUnknownVerdictReadsAsDenied(t *testing.T) {
	for _, v := range []pb.Verdict{0, 77} {
		if got := judgement(&pb.Flow{Verdict: v, Reason: pb.Reason_REASON_NO_RULE}, 0); !strings.HasPrefix(got, " denied") {
			t.Errorf("verdict %d: %q", v, got)
		}
		if VerdictName(v) != "UNKNOWN" {
			t.Errorf("verdict %d is named %s", v, VerdictName(v))
		}
	}
}

func TestParseFormat(t *testing.T) {
	for _, name := range Formats() {
		if f, err := ParseFormat(name); err != nil || string(f) != name {
			t.Errorf("%s: %q, %v", name, f, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), "compact, wide, table") {
		t.Errorf("xml: %v", err)
	}
}
