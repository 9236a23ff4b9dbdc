// SPDX-License-Identifier: Apache-2.0

package output

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

func sampleStatus() *pb.StatusResponse {
	return &pb.StatusResponse{
		Version: "v0.1.0", Node: "node-a", Mode: "enforce", Kernel: "6.18.5", RunId: "r1",
		Started: timestamppb.New(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)),
		Source:  "directory /etc/weir/objects",
		Conditions: []*pb.Condition{
			{Name: "objects", Ok: true, Message: "every kind is listed"},
			{Name: "first-on-hooks", Message: "veth7 to_pod: another program stands ahead; remove it or load it after weir"},
			{Name: "tables", Ok: true},
		},
		Features: []*pb.Feature{
			{Name: "attach", InUse: "tcx"},
			{Name: "clock", InUse: "jiffies", Why: "no coarse clock before 5.11"},
		},
		EndpointsByState: map[string]uint32{"enforced": 12, "unenforceable": 1, "unmanaged": 3},
		Maps: []*pb.MapUse{
			{Name: "flows", Entries: 1200, Capacity: 262144},
			{Name: "rows", Entries: 60000, Capacity: 65536},
			{Name: "peers", Entries: 65536, Capacity: 65536},
			{Name: "cidrs", Entries: 1, Capacity: 16384},
		},
		EventsEmitted: 99997, EventsLost: 3, Generation: 12, Epoch: 4, LastApply: durationpb.New(3214567),
		Neighbours: []*pb.Neighbour{
			{Interface: "veth7", Hook: "to_pod", Program: "bandwidth", Ahead: true},
			{Interface: "veth7", Hook: "from_pod", Program: "meter"},
		},
		Subscribers: 2,
		Rings: []*pb.Ring{
			{Name: "allowed", Emitted: 90000, Lost: 3, Limited: 40, Thinned: 5000, Waiting: 3 << 20, Size: 4 << 20, Sample: 8},
			{Name: "denied", Emitted: 9997, Repeated: 123456, Size: 4 << 20, Sample: 1},
			{Name: "old"},
		},
	}
}

func samplePlaces() []PolicyAt {
	held := &pb.Policy{ObjectGeneration: 3, InForce: true, PodsByState: map[string]uint32{"enforced": 2}}
	return []PolicyAt{{"node-a", held, true}, {"node-b", held, false}, {"node-c", nil, false},
		{"node-d", &pb.Policy{ObjectGeneration: 3, Problems: []string{"x"}}, true}}
}

func sampleEndpoints() []*pb.Endpoint {
	return []*pb.Endpoint{
		{Interface: "veth7", Ifindex: 7, Namespace: "shop", Pod: "web", Ips: []string{"10.0.0.9", "fd00::9"}, State: "enforced",
			SetIngress: 3, IngressPolicies: []*pb.PolicyRef{policyRef("default-deny"), {Namespace: "other", Name: "x"}}, Attached: "tcx, forward"},
		{Interface: "veth8", Namespace: "shop", Pod: "db", Ips: []string{"10.0.0.10"}, State: "audited", SetIngress: 4, SetEgress: 5, Attached: "tcx"},
		{Interface: "eni1", Namespace: "shop", Pod: "odd", State: "unenforceable", Why: "a program on eth0 redirects past the veth"},
		{Interface: "docker0p", State: "unmanaged", Why: "no address of it is a pod's"},
	}
}

func samplePolicy() *pb.Policy {
	return &pb.Policy{
		Ref: policyRef("allow-app"), Uid: "11111111-2222", Subjects: "app=db", IsolatesIngress: true,
		Rules: []*pb.Rule{
			{Ref: rule("allow-app", ingress, 0), Text: "from pods app=web to TCP 5432"},
			{Ref: rule("allow-app", ingress, 1), Text: "from 10.0.0.0/8", Problems: []string{"except 11.0.0.0/8 is outside 10.0.0.0/8: the block allows nothing"}},
		},
		Pods: []string{"shop/db-0", "shop/db-1"}, Problems: []string{"a part of it is unusable"},
	}
}

func sampleExplanation() *pb.ExplainResponse {
	return &pb.ExplainResponse{
		Verdict: denied, Source: pod("web", 0), Destination: pod("db", 0),
		Ends: []*pb.ExplainEnd{
			{Direction: egress, Pod: "shop/web", Here: true, Verdict: allowed, Reason: pb.Reason_REASON_RULE, Rule: rule("out", egress, 1),
				Isolating: policyRefs("out"), MapVerdict: allowed, MapRule: rule("out", egress, 1), Agrees: true,
				Outcomes: []*pb.RuleOutcome{
					{Rule: rule("out", egress, 0), Why: "port 443 is not 53"},
					{Rule: rule("out", egress, 1), Matched: true, Why: "every peer, every port"},
					{Rule: rule("out-2", egress, 0), Matched: true, Why: "peer shop/db, every port"},
				}},
			{Direction: ingress, Pod: "shop/db", Here: true, Verdict: denied, Reason: pb.Reason_REASON_NO_RULE, Isolating: policyRefs("default-deny", "allow-app"),
				Outcomes: []*pb.RuleOutcome{{Rule: rule("allow-app", ingress, 0), Why: "port 443 is not 5432"}}, MapVerdict: allowed, MapRule: rule("old", ingress, 0)},
		},
	}
}

func sampleFar() *pb.ExplainResponse {
	return &pb.ExplainResponse{
		Verdict: allowed, Source: outside(pb.Identity_IDENTITY_WORLD, "203.0.113.7", 0), Destination: pod("db", 0),
		Ends: []*pb.ExplainEnd{
			{Direction: egress, Pod: "shop/web"},
			{Direction: ingress, Pod: "shop/db", Here: true, Verdict: allowed, Reason: pb.Reason_REASON_NOT_ISOLATED},
			{Direction: ingress, Pod: "shop/empty", Here: true, Verdict: denied, Reason: pb.Reason_REASON_NO_RULE, Isolating: policyRefs("default-deny"), MapVerdict: denied, Agrees: true},
		},
	}
}

// A Service whose backends are judged one by one.
func sampleService() *pb.ExplainResponse {
	return &pb.ExplainResponse{
		Verdict: denied, Source: pod("web", 0), Destination: &pb.Peer{Ip: "10.96.0.1", Identity: pb.Identity_IDENTITY_SERVICE, Namespace: "shop", Name: "api"},
		Ends: []*pb.ExplainEnd{
			{Direction: egress, Pod: "shop/web", Here: true, Verdict: allowed, Reason: pb.Reason_REASON_DEFERRED, MapVerdict: allowed, Agrees: true},
			{Direction: egress, Pod: "shop/web", Here: true, Verdict: allowed, Reason: pb.Reason_REASON_RULE, Rule: rule("out", egress, 0), Backend: pod("db", 8080),
				MapVerdict: allowed, MapRule: rule("out", egress, 0), Agrees: true},
			{Direction: egress, Pod: "shop/web", Here: true, Verdict: denied, Reason: pb.Reason_REASON_NO_RULE, Backend: outside(pb.Identity_IDENTITY_WORLD, "203.0.113.7", 8080),
				MapVerdict: denied, Agrees: true},
		},
	}
}

func TestTables(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	asked := &pb.ExplainRequest{Source: "shop/web", Destination: "shop/db", Protocol: protoTCP, Port: 443}
	warned := proto.CloneOf(sampleStatus())
	warned.Ready = true
	ready := proto.CloneOf(sampleStatus())
	ready.Ready, ready.Conditions, ready.Neighbours, ready.EventsLost = true, nil, nil, 0
	rows := []struct {
		file   string
		render func(b *strings.Builder) error
	}{
		{"status.golden", func(b *strings.Builder) error { return Status(b, sampleStatus(), now, Style{}) }},
		{"status-color.golden", func(b *strings.Builder) error { return Status(b, sampleStatus(), now, Style{Color: true}) }},
		{"status-ready.golden", func(b *strings.Builder) error { return Status(b, ready, now, Style{}) }},
		{"status-warned.golden", func(b *strings.Builder) error { return Status(b, warned, now, Style{}) }},
		{"status-empty.golden", func(b *strings.Builder) error { return Status(b, &pb.StatusResponse{}, now, Style{}) }},
		{"nodes.golden", func(b *strings.Builder) error {
			return Nodes(b, []*pb.StatusResponse{sampleStatus(), {Node: "node-b", Ready: true, Mode: "audit", Version: "v0.1.0"}}, Style{})
		}},
		{"policy-status.golden", func(b *strings.Builder) error { return PolicyStatus(b, "shop/web", samplePlaces(), Style{}) }},
		{"status-json.golden", func(b *strings.Builder) error { return WriteJSON(b, sampleStatus()) }},
		{"endpoints.golden", func(b *strings.Builder) error { return Endpoints(b, sampleEndpoints(), Style{}) }},
		{"endpoints-none.golden", func(b *strings.Builder) error { return Endpoints(b, nil, Style{}) }},
		{"policies.golden", func(b *strings.Builder) error {
			return Policies(b, []*pb.Policy{samplePolicy(), {Ref: policyRef("default-deny"), Subjects: "all pods", IsolatesIngress: true, IsolatesEgress: true}}, Style{})
		}},
		{"policies-none.golden", func(b *strings.Builder) error { return Policies(b, nil, Style{}) }},
		{"policy.golden", func(b *strings.Builder) error { return Policy(b, samplePolicy(), Style{}) }},
		{"policy-empty.golden", func(b *strings.Builder) error {
			return Policy(b, &pb.Policy{Ref: policyRef("default-deny"), Subjects: "all pods", IsolatesIngress: true, IsolatesEgress: true}, Style{})
		}},
		{"explain.golden", func(b *strings.Builder) error { return Explanation(b, asked, sampleExplanation(), Style{}) }},
		{"explain-color.golden", func(b *strings.Builder) error {
			return Explanation(b, asked, sampleExplanation(), Style{Color: true})
		}},
		{"explain-far.golden", func(b *strings.Builder) error { return Explanation(b, asked, sampleFar(), Style{}) }},
		{"explain-service.golden", func(b *strings.Builder) error { return Explanation(b, asked, sampleService(), Style{}) }},
		{"explain-nobody.golden", func(b *strings.Builder) error {
			return Explanation(b, &pb.ExplainRequest{Source: "203.0.113.7", Destination: "203.0.113.8", Protocol: protoICMP}, &pb.ExplainResponse{Verdict: allowed}, Style{})
		}},
	}
	for _, row := range rows {
		t.Run(row.file, func(t *testing.T) { golden(t, row.file, row.render) })
	}
}

func TestPercentNeverRoundsToTheEnds(t *testing.T) {
	rows := []struct {
		part, whole float64
		want        string
	}{
		{0, 100, "0.0 %"}, {1, 1e9, "<0.1 %"}, {1, 2, "50.0 %"}, {999999, 1000000, ">99.9 %"}, {5, 5, "100.0 %"}, {3, 0, "-"},
		{math.MaxUint64, math.MaxUint64, "100.0 %"},
	}
	for _, row := range rows {
		if got := percent(row.part, row.whole); got != row.want {
			t.Errorf("%v of %v: %q, want %q", row.part, row.whole, got, row.want)
		}
	}
}

func TestRough(t *testing.T) {
	rows := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {59 * time.Second, "59s"}, {61 * time.Second, "1m1s"}, {90 * time.Minute, "1h30m"}, {49*time.Hour + 59*time.Minute, "2d1h"},
	}
	for _, row := range rows {
		if got := rough(row.d); got != row.want {
			t.Errorf("%s: %q, want %q", row.d, got, row.want)
		}
	}
}
