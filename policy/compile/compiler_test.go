// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

var (
	tcp80   = policy.Port{Protocol: policy.TCP, First: 80, Last: 80}
	tcp443  = policy.Port{Protocol: policy.TCP, First: 443, Last: 443}
	udp53   = policy.Port{Protocol: policy.UDP, First: 53, Last: 53}
	allSCTP = policy.Port{Protocol: policy.SCTP, Last: 65535}
	tcpWeb  = policy.Port{Protocol: policy.TCP, Name: "web"}
	clients = policy.Peer{Pods: &policy.Selector{Requirements: []policy.Requirement{{Key: "app", Operator: policy.In, Values: []string{"c"}}}}}
)

// rule allows every peer if it has none, and every port if it has none.
func rule(peers []policy.Peer, ports ...policy.Port) policy.Rule {
	return policy.Rule{AnyPeer: len(peers) == 0, Peers: peers, AnyPort: len(ports) == 0, Ports: ports}
}

// TestRows shows which rows there are: each line is set/class/protocol and the
// intervals with the index of the deciding rule. Class 1 is the client's.
func TestRows(t *testing.T) {
	c := []policy.Peer{clients}
	for _, row := range []struct {
		name  string
		rules []policy.Rule
		want  string
	}{
		{"no rules", nil, ""},
		{"client only", []policy.Rule{rule(c, tcp80)}, "c1 6: 80-80 r0"},
		{"every peer: class 0 alone", []policy.Rule{rule(nil, tcp80)}, "c0 6: 80-80 r0"},
		{"every peer and port", []policy.Rule{rule(nil)}, "c0 0: 0-65535 r0"},
		{"client's every port", []policy.Rule{rule(c)}, "c1 0: 0-65535 r0"},
		{"row of a protocol holds that for every protocol", []policy.Rule{rule(c), rule(c, tcp80)}, "c1 0: 0-65535 r0; c1 6: 0-65535 r0"},
		{"first rule decides", []policy.Rule{rule(c, tcp80), rule(c)}, "c1 0: 0-65535 r1; c1 6: 0-79 r1 80-80 r0 81-65535 r1"},
		{"class rows hold the rules for every peer", []policy.Rule{rule(c, tcp80), rule(nil, tcp443, udp53)}, "c0 6: 443-443 r1; c0 17: 53-53 r1; c1 6: 80-80 r0 443-443 r1; c1 17: 53-53 r1"},
		{"whole protocol", []policy.Rule{rule(c, allSCTP)}, "c1 132: 0-65535 r0"},
		{"named port of every peer", []policy.Rule{rule(nil, tcpWeb, tcp443)}, "c0 6: 443-443 r0; c1 6: 443-443 r0 8080-8080 r0"},
		{"named port of a peer", []policy.Rule{rule(c, tcpWeb)}, "c1 6: 8080-8080 r0"},
		{"nothing that matches", []policy.Rule{{}, rule(c, policy.Port{}), rule([]policy.Peer{{}}, tcp80)}, ""},
	} {
		m := newMachine()
		m.apply(policy.Batch{
			Pods: []*policy.Pod{
				{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "w"}, Node: thisNode},
				{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "c"}, Labels: map[string]string{"app": "c"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
					Ports: []policy.NamedPort{{Name: "web", Protocol: policy.TCP, Number: 8080}}},
			},
			Policies: []*policy.Policy{{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "n"}, Isolates: [2]bool{false, true}, Rules: [2][]policy.Rule{nil, row.rules}}},
		})
		if got := rowText(m); got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
		s := m.tables.Subjects[policy.ObjectKey{Namespace: "a", Name: "w"}]
		if s.Ingress != 0 || s.Egress == 0 || s.IngressAny || s.EgressAny != strings.Contains(row.want, "c0") {
			t.Errorf("%s: subject %+v", row.name, s)
		}
	}
}

func rowText(m *machine) string {
	var lines []string
	for key, row := range m.tables.Rows {
		line := fmt.Sprintf("c%d %d:", min(key.Class, 1), key.Protocol)
		for _, v := range row.Intervals[:row.Count] {
			line += fmt.Sprintf(" %d-%d r%d", v.Lo, v.Hi, v.Rule-701) // after the mark of newMachine
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b string) int {
		var x, y [2]int
		fmt.Sscanf(a, "c%d %d", &x[0], &x[1])
		fmt.Sscanf(b, "c%d %d", &y[0], &y[1])
		return slices.Compare(x[:], y[:])
	})
	return strings.Join(lines, "; ")
}

// TestGoneSetsGetRowsOfNewClasses: when Collect moves addresses to a new class,
// a packet that read the old set just before must still find its rows.
func TestGoneSetsGetRowsOfNewClasses(t *testing.T) {
	key := policy.ObjectKey{Namespace: "a", Name: "w"}
	other := policy.Peer{Block: &policy.Block{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	isolate := func(name string, r policy.Rule) *policy.Policy {
		return &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: "a", Name: name}, Isolates: [2]bool{true, false}, Rules: [2][]policy.Rule{{r}}}
	}
	m := newMachine()
	m.apply(policy.Batch{
		Pods: []*policy.Pod{{ObjectKey: key, Node: thisNode},
			{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "c"}, Labels: map[string]string{"app": "c"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}},
		Policies: []*policy.Policy{isolate("m", rule([]policy.Peer{clients}, tcp80)), isolate("n", rule([]policy.Peer{other}, tcp80))},
	})
	old := uint32(m.tables.Subjects[key].Ingress)
	m.apply(policy.Batch{DeletedPolicies: []policy.ObjectKey{{Namespace: "a", Name: "n"}}})
	u := m.compiler.Compile(m.engine.Collect())
	made := slices.IndexFunc(u.Rows, func(r bpf.WeirRow) bool { return r.Key.Set == old })
	if made < 0 {
		t.Fatal("no row of the old set for the class without the block")
	}
	if !slices.Contains(u.GoneRows, u.Rows[made].Key) {
		t.Error("the row stays")
	}
}
