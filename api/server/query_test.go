// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// newer gives a message a field of a later version of the API.
func newer[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1234, protowire.VarintType), 1))
	return m
}

// A filter that the agent does not know would, left out, let everything
// through.
func TestUnknownFieldsOfAQuestionAreRefused(t *testing.T) {
	r := start(t)
	watch := func(req *weirv1.WatchRequest) error {
		stream, err := r.Flows.Watch(limited(t), req)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for _, row := range []struct {
		name string
		ask  func() error
		says string
	}{
		{"watch", func() error { return watch(newer(&weirv1.WatchRequest{})) }, "field number 1234 of weir.v1.WatchRequest: this weir-agent does not know it"},
		{"filter", func() error { return watch(&weirv1.WatchRequest{Filter: newer(&weirv1.FlowFilter{})}) }, "filter.field number 1234 of weir.v1.FlowFilter"},
		{"peer", func() error {
			return watch(&weirv1.WatchRequest{Exclude: []*weirv1.FlowFilter{{Pods: []string{"a"}}, {Source: newer(&weirv1.PeerFilter{})}}})
		}, "exclude[1].source.field number 1234 of weir.v1.PeerFilter"},
		{"list", func() error {
			_, err := r.Flows.List(limited(t), &weirv1.ListRequest{Include: []*weirv1.FlowFilter{newer(&weirv1.FlowFilter{})}})
			return err
		}, "include[0].field number 1234"},
		{"summarize", func() error {
			_, err := r.Flows.Summarize(limited(t), newer(&weirv1.SummarizeRequest{}))
			return err
		}, "field number 1234 of weir.v1.SummarizeRequest"},
		{"stats", func() error { _, err := r.Policies.Stats(limited(t), newer(&weirv1.StatsRequest{})); return err }, "field number 1234"},
	} {
		wantError(t, row.name, row.ask(), codes.InvalidArgument, row.says)
	}
	// A newer plugin must be able to announce to an older agent.
	req := newer(&weirv1.AnnounceRequest{Namespace: "a", Name: "b", Interface: "veth1", Ips: []string{"10.0.0.1"}})
	if _, err := r.Agent.Announce(limited(t), req); err != nil {
		t.Errorf("an announcement with more than is known: %v", err)
	}
}

func TestFiltersReachTheStore(t *testing.T) {
	r := start(t)
	pod := func(name string) *policy.Pod {
		return &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: name}, Labels: map[string]string{"app": name}}
	}
	peer := func(name, addr string) flows.Peer {
		return flows.Peer{Addr: netip.MustParseAddr(addr), Port: 80, Identity: flows.PodIdentity, Pod: pod(name)}
	}
	r.store.Add(&flows.Flow{ // 1
		Time: time.Unix(1, 0), Protocol: policy.TCP, Verdict: flows.Allowed, Reason: 1, TCPFlags: 2, Kind: flows.New, Direction: policy.Egress, ID: 5, Interface: "veth1",
		Source: peer("web", "10.0.0.1"), Destination: peer("db", "10.0.0.2"),
		Rule: &policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "p"}, Direction: policy.Egress, Index: 1},
	})
	r.store.Add(&flows.Flow{ // 2
		Time: time.Unix(2, 0), Protocol: policy.UDP, Reason: 32, Kind: flows.New, Reply: true,
		Source: peer("db", "10.0.0.2"), Destination: peer("web", "10.0.0.1"), Isolating: []policy.ObjectKey{{Namespace: "shop", Name: "deny"}},
	})
	r.store.Add(&flows.Flow{ // 3
		Time: time.Unix(3, 0), Protocol: policy.TCP, Verdict: flows.Allowed, Reason: 2, Kind: flows.Closed, Totals: &flows.Totals{End: flows.EndFIN},
		Source: flows.Peer{Addr: netip.MustParseAddr("1.1.1.1")}, Destination: peer("web", "10.0.0.1"),
	})
	reply, index := true, uint32(1)
	asked := map[string]bool{}
	for _, row := range []struct {
		name   string
		filter *weirv1.FlowFilter
		want   string
	}{
		{"pods", &weirv1.FlowFilter{Pods: []string{"db"}}, "1-2:2"},
		{"namespaces", &weirv1.FlowFilter{Namespaces: []string{"shop"}}, "1-3:3"},
		{"ips", &weirv1.FlowFilter{Ips: []string{"1.1.1.1"}}, "3-3:1"},
		{"ports", &weirv1.FlowFilter{Ports: []uint32{81}}, ""},
		{"protocols", &weirv1.FlowFilter{Protocols: []uint32{17}}, "2-2:1"},
		{"verdicts", &weirv1.FlowFilter{Verdicts: []weirv1.Verdict{weirv1.Verdict_VERDICT_DENIED}}, "2-2:1"},
		{"policies", &weirv1.FlowFilter{Policies: []string{"deny"}}, "2-2:1"},
		{"source", &weirv1.FlowFilter{Source: &weirv1.PeerFilter{Labels: []string{"app=web"}}}, "1-1:1"},
		{"destination", &weirv1.FlowFilter{Destination: &weirv1.PeerFilter{Pods: []string{"shop/web"}}}, "2-3:2"},
		{"either", &weirv1.FlowFilter{Either: &weirv1.PeerFilter{Identities: []weirv1.Identity{weirv1.Identity_IDENTITY_WORLD}}}, "3-3:1"},
		{"reasons", &weirv1.FlowFilter{Reasons: []weirv1.Reason{weirv1.Reason_REASON_RULE}}, "1-1:1"},
		{"tcp_flags", &weirv1.FlowFilter{TcpFlags: []*weirv1.TcpFlagFilter{{Set: 2, Unset: 16}}}, "1-1:1"},
		{"directions", &weirv1.FlowFilter{Directions: []weirv1.Direction{weirv1.Direction_DIRECTION_EGRESS}}, "1-1:1"},
		{"reply", &weirv1.FlowFilter{Reply: &reply}, "2-2:1"},
		{"rules", &weirv1.FlowFilter{Rules: []*weirv1.RuleFilter{{Policy: "p", Direction: weirv1.Direction_DIRECTION_EGRESS, Index: &index}}}, "1-1:1"},
		{"kinds", &weirv1.FlowFilter{Kinds: []weirv1.FlowKind{weirv1.FlowKind_FLOW_KIND_CLOSED}}, "3-3:1"},
		{"nodes", &weirv1.FlowFilter{Nodes: []string{"n2"}}, ""},
		{"ids", &weirv1.FlowFilter{Ids: []uint64{5}}, "1-1:1"},
		{"end_reasons", &weirv1.FlowFilter{EndReasons: []weirv1.EndReason{weirv1.EndReason_END_REASON_FIN}}, "3-3:1"},
		{"interfaces", &weirv1.FlowFilter{Interfaces: []string{"veth1"}}, "1-1:1"},
	} {
		asked[row.name] = true // each row is called as its field
		for how, req := range map[string]*weirv1.WatchRequest{
			"filter": {Filter: row.filter}, "include": {Include: []*weirv1.FlowFilter{row.filter}},
		} {
			list, _ := watchAll(t, r, req)
			if got := span(t, list); got != row.want && !(row.want == "" && len(list) == 0) {
				t.Errorf("%s as %s: %s, want %s", row.name, how, got, row.want)
			}
		}
		list, _ := watchAll(t, r, &weirv1.WatchRequest{Exclude: []*weirv1.FlowFilter{row.filter}})
		page, err := r.Flows.List(limited(t), &weirv1.ListRequest{Filter: row.filter})
		if err != nil || len(page.Flows)+len(list) != 3 {
			t.Errorf("%s: %d pass and %d are not excluded, of 3 (%v)", row.name, len(page.GetFlows()), len(list), err)
		}
	}
	fields := (&weirv1.FlowFilter{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !asked[name] {
			t.Errorf("no row asks for %s", name)
		}
	}
}

func TestEnumsOfFiltersAreRefused(t *testing.T) {
	r := start(t)
	for _, row := range []struct {
		filter *weirv1.FlowFilter
		says   string
	}{
		{&weirv1.FlowFilter{Reasons: []weirv1.Reason{31}}, "filter.reasons[0]: 31 is not a value that a flow can have"},
		{&weirv1.FlowFilter{Kinds: []weirv1.FlowKind{1, 0}}, "filter.kinds[1]: FLOW_KIND_UNSPECIFIED"},
		{&weirv1.FlowFilter{Directions: []weirv1.Direction{0}}, "filter.directions[0]"},
		{&weirv1.FlowFilter{EndReasons: []weirv1.EndReason{99}}, "filter.end_reasons[0]"},
		{&weirv1.FlowFilter{Either: &weirv1.PeerFilter{Identities: []weirv1.Identity{0}}}, "filter.either.identities[0]"},
		{&weirv1.FlowFilter{Rules: []*weirv1.RuleFilter{{Policy: "p", Direction: 9}}}, "filter.rules[0].direction[0]: 9"},
	} {
		_, err := r.Flows.List(limited(t), &weirv1.ListRequest{Filter: row.filter})
		wantError(t, row.says, err, codes.InvalidArgument, row.says)
	}
}

func TestUntilAndLimit(t *testing.T) {
	r := start(t)
	add(r.store, 9)
	at := func(second int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: second} }
	for _, row := range []struct {
		name string
		req  *weirv1.WatchRequest
		want string
	}{
		{"until", &weirv1.WatchRequest{Until: at(4)}, "1-3:3"},
		{"between", &weirv1.WatchRequest{Since: at(2), Until: at(4)}, "2-3:2"},
		{"a limit is of the oldest", &weirv1.WatchRequest{Limit: 2}, "1-2:2"},
		{"a limit above", &weirv1.WatchRequest{Limit: 20}, "1-9:9"},
		{"of the last", &weirv1.WatchRequest{Last: 5, Limit: 2}, "5-6:2"},
		{"a limit ends a stream that follows", &weirv1.WatchRequest{Follow: true, Since: at(3), Limit: 4}, "3-6:4"},
		{"so does a time that is past", &weirv1.WatchRequest{Follow: true, Since: at(3), Until: at(5)}, "3-4:2"},
	} {
		list, _ := watchAll(t, r, row.req)
		if got := span(t, list); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	r := start(t)
	web := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web-1"}, Workload: policy.Workload{Kind: "Deployment", Name: "web"}}
	rule := policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "allow"}, Direction: policy.Ingress, Index: 2}
	closing := []policy.ObjectKey{{Namespace: "shop", Name: "deny"}, {Namespace: "shop", Name: "deny2"}}
	to := flows.Peer{Addr: netip.MustParseAddr("192.168.0.1"), Port: 443, Identity: flows.NodeIdentity}
	r.store.Add(&flows.Flow{
		Time: time.Unix(1, 0), ID: 1, Kind: flows.Closed, Protocol: policy.TCP, Verdict: flows.Allowed, Reason: 1, Rule: &rule,
		Source:      flows.Peer{Addr: netip.MustParseAddr("10.0.0.1"), Port: 999, Identity: flows.PodIdentity, Pod: web},
		Destination: to, Totals: &flows.Totals{Sent: flows.Traffic{Packets: 2, Bytes: 3, TCPFlags: 4}, Answered: flows.Traffic{Packets: 5}},
	})
	r.store.Add(&flows.Flow{
		Time: time.Unix(2, 0), Kind: flows.New, Protocol: policy.TCP, Reason: 32, Isolating: closing, Repeats: 1,
		Source: flows.Peer{Addr: netip.MustParseAddr("1.1.1.1")}, Destination: to, Nearest: &flows.Miss{Rule: rule, Why: "port"},
	})
	all := []weirv1.SummaryKey{
		weirv1.SummaryKey_SUMMARY_KEY_SOURCE_WORKLOAD, weirv1.SummaryKey_SUMMARY_KEY_DESTINATION, weirv1.SummaryKey_SUMMARY_KEY_PORT,
		weirv1.SummaryKey_SUMMARY_KEY_VERDICT, weirv1.SummaryKey_SUMMARY_KEY_POLICY, weirv1.SummaryKey_SUMMARY_KEY_RULE,
		weirv1.SummaryKey_SUMMARY_KEY_REASON, weirv1.SummaryKey_SUMMARY_KEY_DIRECTION,
	}
	got, err := r.Flows.Summarize(limited(t), &weirv1.SummarizeRequest{By: all, Order: weirv1.SummaryOrder_SUMMARY_ORDER_BYTES, Top: 1})
	if err != nil {
		t.Fatal(err)
	}
	ruleWant := &weirv1.RuleRef{Policy: &weirv1.PolicyRef{Namespace: "shop", Name: "allow"}, Direction: weirv1.Direction_DIRECTION_INGRESS, Index: 2}
	at := func(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
	want := &weirv1.SummarizeResponse{
		GroupCount: 2, Oldest: at(1),
		Groups: []*weirv1.SummaryGroup{{
			Source:      &weirv1.Peer{Identity: weirv1.Identity_IDENTITY_POD, Namespace: "shop", Workload: &weirv1.Workload{Kind: "Deployment", Name: "web"}},
			Destination: &weirv1.Peer{Identity: weirv1.Identity_IDENTITY_NODE},
			Protocol:    6, Port: 443, Verdict: weirv1.Verdict_VERDICT_ALLOWED, Reason: weirv1.Reason_REASON_RULE, Direction: weirv1.Direction_DIRECTION_INGRESS,
			Policies: []*weirv1.PolicyRef{{Namespace: "shop", Name: "allow"}}, Rule: ruleWant,
			Counts: &weirv1.SummaryCounts{Flows: 1, Sent: &weirv1.Traffic{Packets: 2, Bytes: 3, TcpFlags: 4}, Answered: &weirv1.Traffic{Packets: 5}, First: at(1), Last: at(1)},
		}},
		Total: &weirv1.SummaryCounts{Flows: 1, Denials: 2, Sent: &weirv1.Traffic{Packets: 2, Bytes: 3, TcpFlags: 4}, Answered: &weirv1.Traffic{Packets: 5}, First: at(1), Last: at(2)},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	denials, err := r.Flows.Summarize(limited(t), &weirv1.SummarizeRequest{
		By: all[3:5], Filter: &weirv1.FlowFilter{Verdicts: []weirv1.Verdict{weirv1.Verdict_VERDICT_DENIED}},
	})
	if err != nil || len(denials.Groups) != 1 {
		t.Fatalf("%v, %v", denials, err)
	}
	g := denials.Groups[0]
	if g.Verdict != weirv1.Verdict_VERDICT_DENIED || len(g.Policies) != 2 || g.NearestMiss.GetWhy() != "port" || g.Source != nil || g.Reason != 0 {
		t.Errorf("denials: %v", g)
	}
}

func TestSummarizeRefuses(t *testing.T) {
	r := start(t)
	for _, row := range []struct {
		req  *weirv1.SummarizeRequest
		says string
	}{
		{&weirv1.SummarizeRequest{By: []weirv1.SummaryKey{1, 0}}, "by[1]: SUMMARY_KEY_UNSPECIFIED is no key"},
		{&weirv1.SummarizeRequest{By: []weirv1.SummaryKey{77}}, "by[0]: 77 is no key"},
		{&weirv1.SummarizeRequest{By: []weirv1.SummaryKey{1, 9}}, "by[1]: SUMMARY_KEY_SOURCE_WORKLOAD beside SUMMARY_KEY_SOURCE; one end is named in one way"},
		{&weirv1.SummarizeRequest{Order: 77}, "order: 77"},
		{&weirv1.SummarizeRequest{Top: 10001}, "top: 10001 is above 10000"},
		{&weirv1.SummarizeRequest{Filter: &weirv1.FlowFilter{Ports: []uint32{1 << 20}}}, "filter.ports[0]"},
	} {
		_, err := r.Flows.Summarize(limited(t), row.req)
		wantError(t, row.says, err, codes.InvalidArgument, row.says)
	}
}

func TestStats(t *testing.T) {
	r := start(t)
	off, err := r.Policies.Stats(limited(t), &weirv1.StatsRequest{Namespace: "shop", Name: "allow"})
	if err != nil || off.Enabled || off.Since != nil {
		t.Errorf("nobody counts: %v, %v", off, err)
	}
	ref := policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "allow"}, Direction: policy.Egress}
	r.agent.stats = server.Stats{Since: time.Unix(7, 0), Policies: []server.PolicyStats{
		{Key: key("shop", "deny"), Denials: 9},
		{Key: key("shop", "allow"), Rules: []server.RuleStats{{Ref: ref, RuleAccount: flows.RuleAccount{Flows: 1, Packets: 2, Bytes: 3}}}},
	}}
	got, err := r.Policies.Stats(limited(t), &weirv1.StatsRequest{})
	want := &weirv1.StatsResponse{Enabled: true, Since: &timestamppb.Timestamp{Seconds: 7}, Policies: []*weirv1.PolicyStats{
		{Ref: &weirv1.PolicyRef{Namespace: "shop", Name: "allow"}, Rules: []*weirv1.RuleStats{{
			Ref:   &weirv1.RuleRef{Policy: &weirv1.PolicyRef{Namespace: "shop", Name: "allow"}, Direction: weirv1.Direction_DIRECTION_EGRESS},
			Flows: 1, Packets: 2, Bytes: 3,
		}}},
		{Ref: &weirv1.PolicyRef{Namespace: "shop", Name: "deny"}, Denials: 9},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
		t.Error(err, diff)
	}
	_, err = r.Policies.Stats(limited(t), &weirv1.StatsRequest{Name: "allow"})
	wantError(t, "a name alone", err, codes.InvalidArgument, `name: "allow" needs a namespace`)
}

// A token belongs to all that its listing asked for.
func TestTokenOfAnotherQueryIsRefused(t *testing.T) {
	r := start(t)
	add(r.store, 9)
	first, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageSize: 2})
	if err != nil || first.NextPageToken == "" {
		t.Fatalf("%v, %v", first, err)
	}
	for name, req := range map[string]*weirv1.ListRequest{
		"filter":  {Filter: udpOnly()},
		"include": {Include: []*weirv1.FlowFilter{udpOnly()}},
		"exclude": {Exclude: []*weirv1.FlowFilter{udpOnly()}},
		"since":   {Since: &timestamppb.Timestamp{Seconds: 1}},
		"until":   {Until: &timestamppb.Timestamp{Seconds: 9}},
	} {
		req.PageToken = first.NextPageToken
		_, err := r.Flows.List(limited(t), req)
		wantError(t, name, err, codes.InvalidArgument, "page_token: of another filter")
	}
}
