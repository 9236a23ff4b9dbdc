// SPDX-License-Identifier: Apache-2.0

package server

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// enum reads an enum from the type information of the programs themselves, so
// that a value which somebody adds in C alone is found.
func enum(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	spec, err := bpf.LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	var e *btf.Enum
	if err := spec.Types.TypeByName(name, &e); err != nil {
		t.Fatalf("enum %s: %v", name, err)
	}
	values := map[string]uint64{}
	for _, v := range e.Values {
		if !strings.HasSuffix(v.Name, "_COUNT") {
			values[v.Name] = v.Value
		}
	}
	if len(values) == 0 {
		t.Fatalf("enum %s has no values", name)
	}
	return values
}

// compare wants each C name in the proto with the number that the conversion
// gives, and each proto name in C; unset is the proto's own zero.
func compare(t *testing.T, c map[string]uint64, names map[int32]string, unset string, rename func(string) string, convert func(uint64) int32) {
	t.Helper()
	back := map[string]bool{unset: true}
	for name, value := range c {
		want := rename(name)
		back[want] = true
		if got := names[convert(value)]; got != want {
			t.Errorf("%s (%d) becomes %q, not %q", name, value, got, want)
		}
	}
	for number, name := range names {
		if !back[name] {
			t.Errorf("%s (%d) of the proto is no value of the data path", name, number)
		}
	}
}

func TestEnumsOfTheDataPathAndTheProto(t *testing.T) {
	same := func(s string) string { return s }
	compare(t, enum(t, "reason"), weirv1.Reason_name, "", same,
		func(v uint64) int32 { return int32(reasonProto(flows.Reason(v))) })
	compare(t, enum(t, "verdict"), weirv1.Verdict_name, "VERDICT_UNSPECIFIED", same,
		func(v uint64) int32 { return int32(verdictProto(flows.Verdict(v))) })
	compare(t, enum(t, "direction"), weirv1.Direction_name, "DIRECTION_UNSPECIFIED",
		func(s string) string { return strings.Replace(s, "DIR_", "DIRECTION_", 1) },
		func(v uint64) int32 { return int32(directionProto(policy.Direction(v))) })
	events := maps.Clone(weirv1.FlowKind_name)
	maps.DeleteFunc(events, func(number int32, _ string) bool { return number >= 16 }) // the agent's own
	compare(t, enum(t, "event_kind"), events, "FLOW_KIND_UNSPECIFIED",
		func(s string) string {
			if s == "EVENT_FREED" { // may also have got another rule alone
				return "FLOW_KIND_CHANGED"
			}
			return strings.Replace(s, "EVENT_", "FLOW_KIND_", 1)
		},
		func(v uint64) int32 { return int32(kindProto(flows.Kind(v))) })
}

// These are enums of the agent; their numbers are those of the proto.
func TestEnumsOfTheAgentAndTheProto(t *testing.T) {
	for got, want := range map[string]string{
		kindProto(flows.Closed).String():                             "FLOW_KIND_CLOSED",
		kindProto(flows.Active).String():                             "FLOW_KIND_ACTIVE",
		endReasonProto(flows.EndFIN).String():                        "END_REASON_FIN",
		endReasonProto(flows.EndRST).String():                        "END_REASON_RST",
		endReasonProto(flows.EndExpired).String():                    "END_REASON_EXPIRED",
		endReasonProto(flows.EndRevoked).String():                    "END_REASON_REVOKED",
		endReasonProto(flows.EndRemoved).String():                    "END_REASON_REMOVED",
		weirv1.SummaryKey(flows.BySource).String():                   "SUMMARY_KEY_SOURCE",
		weirv1.SummaryKey(flows.ByDestination).String():              "SUMMARY_KEY_DESTINATION",
		weirv1.SummaryKey(flows.ByPort).String():                     "SUMMARY_KEY_PORT",
		weirv1.SummaryKey(flows.ByVerdict).String():                  "SUMMARY_KEY_VERDICT",
		weirv1.SummaryKey(flows.ByPolicy).String():                   "SUMMARY_KEY_POLICY",
		weirv1.SummaryKey(flows.ByRule).String():                     "SUMMARY_KEY_RULE",
		weirv1.SummaryKey(flows.ByReason).String():                   "SUMMARY_KEY_REASON",
		weirv1.SummaryKey(flows.ByDirection).String():                "SUMMARY_KEY_DIRECTION",
		weirv1.SummaryKey(flows.BySourceWorkload).String():           "SUMMARY_KEY_SOURCE_WORKLOAD",
		weirv1.SummaryKey(flows.ByDestinationWorkload).String():      "SUMMARY_KEY_DESTINATION_WORKLOAD",
		weirv1.SummaryKey(flows.BySourceNamespace).String():          "SUMMARY_KEY_SOURCE_NAMESPACE",
		weirv1.SummaryKey(flows.ByDestinationNamespace).String():     "SUMMARY_KEY_DESTINATION_NAMESPACE",
		weirv1.SummaryKey(flows.ByDestinationNamespace + 1).String(): "13", // the proto has no more
		weirv1.SummaryOrder(flows.MostFlows).String():                "SUMMARY_ORDER_UNSPECIFIED",
		weirv1.SummaryOrder(flows.MostPackets).String():              "SUMMARY_ORDER_PACKETS",
		weirv1.SummaryOrder(flows.MostBytes).String():                "SUMMARY_ORDER_BYTES",
		weirv1.SummaryOrder(flows.MostDenials).String():              "SUMMARY_ORDER_DENIALS",
		weirv1.SummaryOrder(flows.Newest).String():                   "SUMMARY_ORDER_NEWEST",
		weirv1.EndReason(flows.EndRemoved + 1).String():              "6",
		weirv1.SummaryOrder(flows.Newest + 1).String():               "5",
	} {
		if got != want {
			t.Errorf("%s is not %s", got, want)
		}
	}
}

func TestVerdictsThereAndBack(t *testing.T) {
	for number, name := range weirv1.Verdict_name {
		v, ok := verdictStruct(weirv1.Verdict(number))
		if ok != (number != 0) {
			t.Errorf("%s: accepted %v", name, ok)
		}
		if ok && verdictProto(v) != weirv1.Verdict(number) {
			t.Errorf("%s comes back as %s", name, verdictProto(v))
		}
	}
	if v, ok := verdictStruct(99); ok || v != flows.Denied {
		t.Errorf("verdict 99 is %v, accepted %v", v, ok)
	}
	if got := verdictProto(99); got != weirv1.Verdict_VERDICT_DENIED {
		t.Errorf("an unknown verdict is told as %s", got)
	}
}

func TestFlowProto(t *testing.T) {
	rule := policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "allow"}, Direction: policy.Ingress, Index: 2}
	pod := &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web-1"},
		Labels:    map[string]string{"app": "web"},
		Workload:  policy.Workload{Kind: "Deployment", Name: "web"},
	}
	service := &policy.Service{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"}}
	f := &flows.Flow{
		Sequence: 9, Time: time.Unix(100, 5), Kind: flows.Revoked, Verdict: flows.Audited,
		Reason: bpf.WeirReasonREASON_NO_RULE, Direction: policy.Egress, Protocol: policy.TCP,
		TCPFlags: 2, ICMPType: 3, ICMPCode: 4, Reply: true, EtherType: 0x0800, Length: 60, Repeats: 7,
		Source:      flows.Peer{Addr: netip.MustParseAddr("10.0.0.1"), Port: 1000, Identity: flows.PodIdentity, Pod: pod},
		Destination: flows.Peer{Addr: netip.MustParseAddr("fd00::1"), Port: 80, Identity: flows.NodeIdentity},
		Service:     &flows.Peer{Addr: netip.MustParseAddr("10.96.0.1"), Port: 8080, Identity: flows.ServiceIdentity, Service: service},
		Rule:        &rule, Isolating: []policy.ObjectKey{{Namespace: "shop", Name: "deny"}},
		Nearest: &flows.Miss{Rule: rule, Why: "port 1 is not 2"}, Interface: "veth\xff1",
		ID: 77, Sample: 4, Totals: &flows.Totals{
			Start: time.Unix(40, 0), Duration: 59 * time.Second, End: flows.EndRST,
			Sent: flows.Traffic{Packets: 1, Bytes: 2, TCPFlags: 3}, Answered: flows.Traffic{Packets: 4, Bytes: 5, TCPFlags: 6},
		},
	}
	ruleWant := &weirv1.RuleRef{Policy: &weirv1.PolicyRef{Namespace: "shop", Name: "allow"}, Direction: weirv1.Direction_DIRECTION_INGRESS, Index: 2}
	want := &weirv1.Flow{
		Time: &timestamppb.Timestamp{Seconds: 100, Nanos: 5}, Node: "n1", Kind: weirv1.FlowKind_FLOW_KIND_REVOKED,
		Verdict: weirv1.Verdict_VERDICT_AUDITED, Reason: weirv1.Reason_REASON_NO_RULE, Direction: weirv1.Direction_DIRECTION_EGRESS, Protocol: 6,
		Source:      &weirv1.Peer{Ip: "10.0.0.1", Port: 1000, Identity: weirv1.Identity_IDENTITY_POD, Namespace: "shop", Name: "web-1", Labels: map[string]string{"app": "web"}, Workload: &weirv1.Workload{Kind: "Deployment", Name: "web"}},
		Destination: &weirv1.Peer{Ip: "fd00::1", Port: 80, Identity: weirv1.Identity_IDENTITY_NODE},
		Service:     &weirv1.Peer{Ip: "10.96.0.1", Port: 8080, Identity: weirv1.Identity_IDENTITY_SERVICE, Namespace: "shop", Name: "web"},
		Rule:        ruleWant, Isolating: []*weirv1.PolicyRef{{Namespace: "shop", Name: "deny"}},
		NearestMiss: &weirv1.NearestMiss{Rule: ruleWant, Why: "port 1 is not 2"},
		TcpFlags:    2, IcmpType: 3, IcmpCode: 4, EtherType: 0x0800, Length: 60, Repeats: 7, Reply: true, Sequence: 9, Interface: "veth\uFFFD1",
		Id: 77, Sample: 4, Start: &timestamppb.Timestamp{Seconds: 40}, Duration: durationpb.New(59 * time.Second), EndReason: weirv1.EndReason_END_REASON_RST,
		Sent: &weirv1.Traffic{Packets: 1, Bytes: 2, TcpFlags: 3}, Answered: &weirv1.Traffic{Packets: 4, Bytes: 5, TcpFlags: 6},
	}
	got := flowProto(f, "n1")
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	allSet(t, got)
	if _, err := proto.Marshal(got); err != nil {
		t.Errorf("a name with a byte that is no UTF-8: %v", err)
	}
}

// allSet fails on a field that the sample leaves empty: then the conversion
// of a field that was added to the proto would go untested.
func allSet(t *testing.T, m proto.Message) {
	t.Helper()
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		if !r.Has(fields.Get(i)) {
			t.Errorf("%s is not set", fields.Get(i).FullName())
		}
	}
}

func TestPeerProto(t *testing.T) {
	for _, row := range []struct {
		name string
		peer flows.Peer
		want *weirv1.Peer
	}{
		{"world", flows.Peer{Addr: netip.MustParseAddr("1.1.1.1")}, &weirv1.Peer{Ip: "1.1.1.1", Identity: weirv1.Identity_IDENTITY_WORLD}},
		{"nobody", flows.Peer{}, &weirv1.Peer{}},
		{"a pod without an address", flows.Peer{Identity: flows.PodIdentity, Pod: &policy.Pod{}}, &weirv1.Peer{Identity: weirv1.Identity_IDENTITY_POD}},
		{"unknown identity", flows.Peer{Addr: netip.MustParseAddr("1.1.1.1"), Identity: 99}, &weirv1.Peer{Ip: "1.1.1.1", Identity: weirv1.Identity_IDENTITY_WORLD}},
	} {
		if diff := cmp.Diff(row.want, peerProto(&row.peer), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
}

func TestEndProtoComparesWithTheMaps(t *testing.T) {
	a := &policy.RuleRef{Index: 1}
	b := &policy.RuleRef{Index: 2}
	for _, row := range []struct {
		name   string
		rule   *policy.RuleRef
		live   *LiveAnswer
		agrees bool
		told   weirv1.Verdict
	}{
		{"not asked", a, nil, false, weirv1.Verdict_VERDICT_UNSPECIFIED},
		{"the same", a, &LiveAnswer{flows.Allowed, &policy.RuleRef{Index: 1}}, true, weirv1.Verdict_VERDICT_ALLOWED},
		{"another rule", a, &LiveAnswer{flows.Allowed, b}, false, weirv1.Verdict_VERDICT_ALLOWED},
		{"no rule", a, &LiveAnswer{flows.Allowed, nil}, false, weirv1.Verdict_VERDICT_ALLOWED},
		{"both without a rule", nil, &LiveAnswer{flows.Allowed, nil}, true, weirv1.Verdict_VERDICT_ALLOWED},
		{"another verdict", a, &LiveAnswer{flows.Denied, a}, false, weirv1.Verdict_VERDICT_DENIED},
	} {
		p := endProto(ExplainedEnd{Here: true, Verdict: flows.Allowed, Rule: row.rule, Live: row.live})
		if p.Agrees != row.agrees || p.MapVerdict != row.told {
			t.Errorf("%s: agrees %v, map verdict %s", row.name, p.Agrees, p.MapVerdict)
		}
	}
	// A pod of another node: no verdict that could be taken for a denial.
	away := endProto(ExplainedEnd{Pod: policy.ObjectKey{Namespace: "a", Name: "b"}})
	if away.Verdict != weirv1.Verdict_VERDICT_UNSPECIFIED || away.Pod != "a/b" {
		t.Errorf("a pod that is not here: %v", away)
	}
}
