// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

// rich is sample with all that only the fields of TestPeersAndRecords ask for:
// shop/web (app=web, tier=a, of Deployment web) to data/db, closed by a RST.
func rich() *Flow {
	f := sample()
	pod := *web
	pod.Labels = map[string]string{"app": "web", "tier": "a"}
	pod.Workload = policy.Workload{Kind: "Deployment", Name: "web"}
	f.Source.Pod = &pod
	f.ID, f.Kind, f.Reason, f.Direction = 7, Closed, 1, policy.Egress
	f.TCPFlags, f.Interface = 0x12, "veth42"
	f.Totals = &Totals{End: EndRST}
	return f
}

func TestPeersAndRecords(t *testing.T) {
	type s = []string
	type n = []uint32
	yes, no := true, false
	ingress, egress := policy.Ingress, policy.Egress
	one, two := uint32(1), uint32(2)
	src := func(p PeerSpec) FilterSpec { return FilterSpec{Source: p} }
	dst := func(p PeerSpec) FilterSpec { return FilterSpec{Destination: p} }
	any := func(p PeerSpec) FilterSpec { return FilterSpec{Either: p} }
	for _, row := range []struct {
		name         string
		spec         FilterSpec
		rich, denied bool
	}{
		{"from a pod", src(PeerSpec{Pods: s{"web"}}), true, false},
		{"to a pod", dst(PeerSpec{Pods: s{"web"}}), false, true},
		{"a pod at either end", any(PeerSpec{Pods: s{"shop/web"}}), true, true},
		{"from a namespace", src(PeerSpec{Namespaces: s{"shop"}}), true, false},
		{"to the namespace of the Service", dst(PeerSpec{Namespaces: s{"kube-system"}}), true, false},
		{"label", src(PeerSpec{Labels: s{"app=web"}}), true, false},
		{"labels that must all match", src(PeerSpec{Labels: s{"app=web,tier in (a, b)"}}), true, false},
		{"one label does not match", src(PeerSpec{Labels: s{"app=web,tier=b"}}), false, false},
		{"one of two selectors", src(PeerSpec{Labels: s{"app=db", "tier"}}), true, false},
		{"absent label, which an address has not either", dst(PeerSpec{Labels: s{"!nope"}}), true, true},
		{"from an address", src(PeerSpec{IPs: s{"10.1.0.0/16"}}), true, false},
		{"to an address", dst(PeerSpec{IPs: s{"10.1.0.0/16"}}), false, false},
		{"to the backend", dst(PeerSpec{IPs: s{"10.2.0.6"}, Ports: n{5432}}), true, false},
		{"to the Service", dst(PeerSpec{IPs: s{"10.96.0.1"}, Ports: n{53}}), true, false},
		{"the Service's address at the backend's port", dst(PeerSpec{IPs: s{"10.96.0.1"}, Ports: n{5432}}), false, false},
		{"from a port", src(PeerSpec{Ports: n{40000}}), true, false},
		{"to a port", dst(PeerSpec{Ports: n{40000}}), false, false},
		{"Service", dst(PeerSpec{Services: s{"kube-system/dns"}}), true, false},
		{"a pod is no Service", dst(PeerSpec{Services: s{"db"}}), false, false},
		{"workload", src(PeerSpec{Workloads: s{"web"}}), true, false},
		{"workload with namespace", src(PeerSpec{Workloads: s{"shop/web"}}), true, false},
		{"workload with kind", src(PeerSpec{Workloads: s{"shop/deployment/web"}}), true, false},
		{"workload of another kind", src(PeerSpec{Workloads: s{"shop/StatefulSet/web"}}), false, false},
		{"workload of another namespace", src(PeerSpec{Workloads: s{"data/web"}}), false, false},
		{"world", src(PeerSpec{Identities: []Identity{World}}), false, true},
		{"Service or pod", dst(PeerSpec{Identities: []Identity{ServiceIdentity}}), true, false},
		{"both at one end", any(PeerSpec{Pods: s{"web"}, Ports: n{5432}}), false, false},
		{"reason", FilterSpec{Reasons: []Reason{1, 2}}, true, false},
		{"unknown reason", FilterSpec{Reasons: []Reason{0}}, false, true},
		{"all flags", FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 0x12}}}, true, false},
		{"a flag too many", FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 0x13}}}, false, false},
		{"SYN without ACK", FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 2, Unset: 0x10}}}, false, false},
		{"no RST, and only TCP has flags", FilterSpec{TCPFlags: []TCPFlagsSpec{{Unset: 4}}}, true, false},
		{"one of two flags", FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 4}, {Set: 2}}}, true, false},
		{"direction", FilterSpec{Directions: []policy.Direction{egress}}, true, false},
		{"no reply", FilterSpec{Reply: &no}, true, true},
		{"reply", FilterSpec{Reply: &yes}, false, false},
		{"rules of a policy", FilterSpec{Rules: []RuleSpec{{Policy: "allow-app"}}}, true, false},
		{"rule", FilterSpec{Rules: []RuleSpec{{Policy: "shop/allow-app", Direction: &egress, Index: &one}}}, true, false},
		{"rule of the other direction", FilterSpec{Rules: []RuleSpec{{Policy: "shop/allow-app", Direction: &ingress, Index: &one}}}, false, false},
		{"another rule", FilterSpec{Rules: []RuleSpec{{Policy: "shop/allow-app", Index: &two}}}, false, false},
		{"an isolating policy has no rule here", FilterSpec{Rules: []RuleSpec{{Policy: "default-deny"}}}, false, false},
		{"kind", FilterSpec{Kinds: []Kind{Active, Closed}}, true, false},
		{"this node", FilterSpec{Nodes: s{"n0", "n1"}}, true, true},
		{"another node", FilterSpec{Nodes: s{"n2"}}, false, false},
		{"id", FilterSpec{IDs: []uint64{7}}, true, false},
		{"end", FilterSpec{Ends: []EndReason{EndRST}}, true, false},
		{"another end", FilterSpec{Ends: []EndReason{EndFIN}}, false, false},
		{"interface", FilterSpec{Interfaces: s{"veth42"}}, true, false},
	} {
		f, err := Compile(Query{Filter: row.spec, Node: "n1"})
		if err != nil || f == nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if f.Matches(rich()) != row.rich || f.Matches(denied()) != row.denied {
			t.Errorf("%s: rich %v, denied %v; want the opposite of one", row.name, f.Matches(rich()), f.Matches(denied()))
		}
	}
}

// A packet without addresses comes from nobody: not from the world.
func TestNobodyIsNotTheWorld(t *testing.T) {
	f, err := Compile(Query{Filter: FilterSpec{Source: PeerSpec{Identities: []Identity{World}}}})
	if err != nil || f.Matches(&Flow{}) || !f.Matches(&Flow{Source: Peer{Addr: netip.MustParseAddr("1.1.1.1")}}) {
		t.Errorf("matches, or %v", err)
	}
}

func TestQuery(t *testing.T) {
	tcp, udp := FilterSpec{Protocols: []uint32{6}}, FilterSpec{Protocols: []uint32{17}}
	fromWeb := FilterSpec{Source: PeerSpec{Pods: []string{"web"}}}
	isDenied := FilterSpec{Verdicts: []Verdict{Denied}}
	for _, row := range []struct {
		name         string
		query        Query
		rich, denied bool
	}{
		{"include one of two", Query{Include: []FilterSpec{udp, tcp}}, true, false},
		{"include none", Query{Include: []FilterSpec{udp}}, false, false},
		{"exclude", Query{Exclude: []FilterSpec{udp, isDenied}}, true, false},
		{"exclude both", Query{Exclude: []FilterSpec{fromWeb, isDenied}}, false, false},
		{"exclude wins", Query{Filter: tcp, Include: []FilterSpec{tcp}, Exclude: []FilterSpec{fromWeb}}, false, false},
		{"the filter and one that is included", Query{Filter: fromWeb, Include: []FilterSpec{tcp, isDenied}}, true, false},
		{"an excluded filter is left out whole", Query{Exclude: []FilterSpec{{Protocols: []uint32{6}, Verdicts: []Verdict{Denied}}}}, true, true},
		{"since then", Query{Since: noon}, true, true},
		{"since later", Query{Since: noon.Add(1)}, false, false},
		{"until then", Query{Until: noon}, false, false},
		{"until later", Query{Until: noon.Add(1)}, true, true},
		{"between", Query{Since: noon.Add(-1), Until: noon.Add(1), Filter: tcp}, true, false},
	} {
		f, err := Compile(row.query)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if f.Matches(rich()) != row.rich || f.Matches(denied()) != row.denied {
			t.Errorf("%s: rich %v, denied %v; want the opposite of one", row.name, f.Matches(rich()), f.Matches(denied()))
		}
	}
	if f, err := Compile(Query{}); f != nil || err != nil {
		t.Errorf("a query of nothing: %v, %v", f, err)
	}
}

func TestCompileRefusesInEachPlace(t *testing.T) {
	type s = []string
	src := func(p PeerSpec) Query { return Query{Include: []FilterSpec{{Source: p}}} }
	for _, row := range []struct {
		query Query
		says  string
	}{
		{src(PeerSpec{Pods: s{"a/"}}), `include[0].source.pods[0]: "a/" is not "namespace/name" or "name"`},
		{src(PeerSpec{Services: s{"a b"}}), `include[0].source.services[0]`},
		{src(PeerSpec{Labels: s{"app="}}), ``}, // an empty value is a value
		{src(PeerSpec{Labels: s{"=web"}}), `include[0].source.labels[0]: "=web" is not a selector of labels`},
		{src(PeerSpec{Labels: s{""}}), `include[0].source.labels[0]: "" is not a selector`},
		{src(PeerSpec{Workloads: s{"a//b"}}), `include[0].source.workloads[0]: "a//b" is not "name"`},
		{src(PeerSpec{Workloads: s{"a/b/c/d"}}), `include[0].source.workloads[0]`},
		{src(PeerSpec{Ports: []uint32{1 << 16}}), `include[0].source.ports[0]: 65536 is not a port`},
		{src(PeerSpec{}), `include[0]: says nothing; set a field or leave it away`},
		{Query{Exclude: []FilterSpec{{}, {}}}, `exclude[1]: says nothing`},
		{Query{Filter: FilterSpec{Destination: PeerSpec{IPs: s{"x"}}}}, `filter.destination.ips[0]`},
		{Query{Filter: FilterSpec{Either: PeerSpec{Namespaces: s{"a/b"}}}}, `filter.either.namespaces[0]`},
		{Query{Filter: FilterSpec{TCPFlags: []TCPFlagsSpec{{}}}}, `filter.tcp_flags[0]: set 0x0 and unset 0x0 can match nothing`},
		{Query{Filter: FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 3, Unset: 2}}}}, `filter.tcp_flags[0]`},
		{Query{Filter: FilterSpec{TCPFlags: []TCPFlagsSpec{{Set: 256}}}}, `filter.tcp_flags[0]`},
		{Query{Filter: FilterSpec{Rules: []RuleSpec{{Policy: ""}}}}, `filter.rules[0].policy[0]: "" is not`},
		{Query{Filter: FilterSpec{IDs: []uint64{0}}}, `filter.ids[0]: 0x0 is not the id of a flow; denials have none`},
		{Query{Filter: FilterSpec{Nodes: s{""}}}, `filter.nodes[0]`},
		{Query{Since: noon, Until: noon}, `until: 2026-03-01T12:00:00Z is not after since, 2026-03-01T12:00:00Z`},
	} {
		f, err := Compile(row.query)
		if row.says == "" {
			if err != nil {
				t.Errorf("%+v: %v", row.query, err)
			}
			continue
		}
		if err == nil || f != nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%+v: filter %v, error %v; want %q", row.query, f, err, row.says)
		}
	}
}

// summaryOf adds flows a second apart, and tells the groups in text.
func summaryOf(t *testing.T, by []SummaryKey, order SummaryOrder, top int, list ...*Flow) Summary {
	t.Helper()
	s := newStore(t, MinCapacity)
	for i, f := range list {
		f.Time = noon.Add(time.Duration(i) * time.Second)
		s.Add(f)
	}
	return s.Summarize(nil, by, order, top)
}

func TestSummarizeCountsAFlowOnce(t *testing.T) {
	record := func(id uint64, kind Kind, packets uint64) *Flow {
		f := sample()
		f.ID, f.Kind = id, kind
		if kind != New {
			f.Totals = &Totals{Sent: Traffic{Packets: packets, Bytes: packets * 100, TCPFlags: uint8(packets)}, Answered: Traffic{Packets: 1}}
		}
		return f
	}
	audited := denied()
	audited.ID, audited.Kind, audited.Verdict = 9, New, Audited
	again := denied()
	again.Repeats = 4
	again.Nearest = missed
	got := summaryOf(t, nil, MostFlows, 10,
		record(1, New, 0), record(2, New, 0), record(1, Active, 10), record(1, Active, 15), record(1, Closed, 20),
		record(3, Closed, 7), denied(), again, audited, record(0, New, 0), record(0, Closed, 5))
	if len(got.Groups) != 1 || got.Count != 1 || got.Missed != 0 || !got.Oldest.Equal(noon) {
		t.Fatalf("%+v", got)
	}
	want := Counts{
		Flows: 6, Denials: 1 + 5 + 1, // 1, 2, 3, 9, and two without an id
		Sent: Traffic{Packets: 32, Bytes: 3200, TCPFlags: 10 | 15 | 20 | 7 | 5}, Answered: Traffic{Packets: 3},
		First: noon, Last: noon.Add(10 * time.Second),
	}
	if got.Total != want || got.Groups[0].Counts != want {
		t.Errorf("total %+v\ngroup %+v\n want %+v", got.Total, got.Groups[0].Counts, want)
	}
	if got.Groups[0].Nearest != missed {
		t.Error("the nearest miss is lost")
	}
}

func TestSummaryKeysAndOrder(t *testing.T) {
	node := sample()
	node.Destination = Peer{Addr: netip.MustParseAddr("192.168.0.1"), Port: 22, Identity: NodeIdentity}
	other := rich()
	other.ID = 8
	list := func() []*Flow { return []*Flow{denied(), rich(), other, node} }
	name := func(n EndName) string {
		return strings.Trim(n.Namespace+"/"+n.Kind+"/"+n.Name, "/") + map[bool]string{true: n.Addr.String()}[n.Addr.IsValid()]
	}
	for _, row := range []struct {
		name  string
		by    []SummaryKey
		order SummaryOrder
		top   int
		text  func(Group) string
		want  string
	}{
		{"source", []SummaryKey{BySource}, MostFlows, 9, func(g Group) string { return name(g.Source) }, "shop//web 2001:db8::1"},
		{"destination, the node by what it is", []SummaryKey{ByDestination}, MostFlows, 9, func(g Group) string { return name(g.Destination) + string('0'+rune(g.Destination.Identity)) }, "data//db1 2 shop//web1"},
		{"newest", []SummaryKey{ByDestination}, Newest, 9, func(g Group) string { return name(g.Destination) }, " data//db shop//web"},
		{"most denials", []SummaryKey{ByVerdict}, MostDenials, 9, func(g Group) string { return string('0' + rune(g.Verdict)) }, "0 1"},
		{"top", []SummaryKey{BySource}, MostFlows, 1, func(g Group) string { return name(g.Source) }, "shop//web"},
		{"port", []SummaryKey{ByPort}, MostFlows, 1, func(g Group) string { return string('0'+rune(g.Protocol)) + map[uint16]string{5432: "pg"}[g.Port] }, "6pg"},
		{"policy", []SummaryKey{ByPolicy}, MostFlows, 9, func(g Group) string { return g.Policies }, "shop/allow-app shop/default-deny"},
		{"rule", []SummaryKey{ByRule}, MostFlows, 9, func(g Group) string { return g.Rule.Policy.Name }, "allow-app "},
		{"workload", []SummaryKey{BySourceWorkload}, MostFlows, 9, func(g Group) string { return name(g.Source) }, "shop/Deployment/web 2001:db8::1 shop//web"},
		{"namespaces", []SummaryKey{BySourceNamespace, ByDestinationNamespace}, MostFlows, 1, func(g Group) string { return name(g.Source) + ">" + name(g.Destination) }, "shop>data"},
		{"direction, and equal ones by text", []SummaryKey{ByDirection}, MostFlows, 9, func(g Group) string { return g.Direction.String() }, "ingress egress"},
		{"reason", []SummaryKey{ByReason}, Newest, 1, func(g Group) string { return string('0' + rune(g.Reason)) }, "0"},
	} {
		sum := summaryOf(t, row.by, row.order, row.top, list()...)
		var got []string
		for _, g := range sum.Groups {
			got = append(got, row.text(g))
		}
		if text := strings.Join(got, " "); text != row.want {
			t.Errorf("%s: %q, want %q", row.name, text, row.want)
		}
		if sum.Count < len(sum.Groups) || row.name == "top" && sum.Count != 2 {
			t.Errorf("%s: %d groups told, %d counted", row.name, len(sum.Groups), sum.Count)
		}
	}
}

func TestSummarizeAnEmptyStoreAndAFilter(t *testing.T) {
	if got := newStore(t, MinCapacity).Summarize(nil, nil, MostFlows, 5); got.Count != 0 || !got.Oldest.IsZero() {
		t.Errorf("%+v", got)
	}
	s := newStore(t, MinCapacity)
	for range 2 * MinCapacity {
		s.Add(rich())
		s.Add(denied())
	}
	f, err := Compile(Query{Filter: FilterSpec{Verdicts: []Verdict{Denied}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Summarize(f, nil, MostFlows, 5); got.Total.Flows != 0 || got.Total.Denials != MinCapacity/2 {
		t.Errorf("%+v", got.Total)
	}
}
