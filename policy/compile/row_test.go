// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

func TestDecide(t *testing.T) {
	type claims []claim
	tcp := func(lo, hi int, rule resolve.RuleID) claim { return claim{policy.TCP, interval{lo, hi, rule}} }
	udp := func(lo, hi int, rule resolve.RuleID) claim { return claim{policy.UDP, interval{lo, hi, rule}} }
	all := func(rule resolve.RuleID) claim { return claim{0, interval{0, 65535, rule}} }
	for _, row := range []struct {
		name     string
		claims   claims
		protocol policy.Protocol
		want     string
	}{
		{"none", nil, policy.TCP, ""},
		{"one", claims{tcp(80, 80, 1)}, policy.TCP, "80-80:1"},
		{"other protocol", claims{udp(80, 80, 1)}, policy.TCP, ""},
		{"sorted", claims{tcp(443, 443, 1), tcp(80, 80, 2)}, policy.TCP, "80-80:2 443-443:1"},
		{"same port: the first rule", claims{tcp(80, 80, 1), tcp(80, 80, 2)}, policy.TCP, "80-80:1"},
		{"first inside second", claims{tcp(80, 90, 1), tcp(1, 100, 2)}, policy.TCP, "1-79:2 80-90:1 91-100:2"},
		{"second inside first", claims{tcp(1, 100, 1), tcp(80, 90, 2)}, policy.TCP, "1-100:1"},
		{"overlap left", claims{tcp(50, 100, 1), tcp(1, 60, 2)}, policy.TCP, "1-49:2 50-100:1"},
		{"overlap right", claims{tcp(1, 60, 1), tcp(50, 100, 2)}, policy.TCP, "1-60:1 61-100:2"},
		{"over several", claims{tcp(10, 10, 1), tcp(20, 20, 2), tcp(30, 30, 3), tcp(10, 30, 4)}, policy.TCP, "10-10:1 11-19:4 20-20:2 21-29:4 30-30:3"},
		{"adjacent of one rule", claims{tcp(80, 81, 1), tcp(82, 90, 1)}, policy.TCP, "80-90:1"},
		{"adjacent of two rules", claims{tcp(80, 81, 1), tcp(82, 90, 2)}, policy.TCP, "80-81:1 82-90:2"},
		{"joined after a later claim", claims{tcp(80, 80, 1), tcp(82, 82, 1), tcp(81, 81, 1)}, policy.TCP, "80-82:1"},
		{"ends", claims{tcp(1, 1, 1), tcp(65535, 65535, 2)}, policy.TCP, "1-1:1 65535-65535:2"},
		{"whole protocol holds port 0", claims{tcp(1, 65535, 1), tcp(0, 65535, 2)}, policy.TCP, "0-0:2 1-65535:1"},
		{"every protocol after", claims{tcp(80, 80, 1), all(2)}, policy.TCP, "0-79:2 80-80:1 81-65535:2"},
		{"every protocol before", claims{all(1), tcp(80, 80, 2)}, policy.TCP, "0-65535:1"},
		{"row for every protocol", claims{tcp(80, 80, 1), all(2)}, 0, "0-65535:2"},
	} {
		if got := text(new(workbench).decide(row.claims, row.protocol)); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func text(intervals []interval) string {
	var out []string
	for _, v := range intervals {
		out = append(out, fmt.Sprintf("%d-%d:%d", v.lo, v.hi, v.rule))
	}
	return strings.Join(out, " ")
}

// TestDecideRandom paints every port by hand.
func TestDecideRandom(t *testing.T) {
	const seed = 5
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var b workbench
	for range 2000 {
		var claims []claim
		var painted [64]resolve.RuleID
		for range r.IntN(12) {
			lo := r.IntN(64)
			v := interval{lo, lo + r.IntN(64-lo), resolve.RuleID(1 + r.IntN(6))}
			claims = append(claims, claim{policy.TCP, v})
			for port := v.lo; port <= v.hi; port++ {
				if painted[port] == 0 {
					painted[port] = v.rule
				}
			}
		}
		intervals := b.decide(claims, policy.TCP)
		for i, v := range intervals {
			if v.lo > v.hi || i > 0 && intervals[i-1].hi >= v.lo {
				t.Fatalf("%v: not sorted and disjoint: %s", claims, text(intervals))
			}
			if i > 0 && intervals[i-1].hi+1 == v.lo && intervals[i-1].rule == v.rule {
				t.Fatalf("%v: not joined: %s", claims, text(intervals))
			}
			for port := v.lo; port <= v.hi; port++ {
				if painted[port] != v.rule {
					t.Fatalf("%v: port %d is rule %d in %s", claims, port, painted[port], text(intervals))
				}
				painted[port] = 0
			}
		}
		if painted != [64]resolve.RuleID{} {
			t.Fatalf("%v: missing in %s", claims, text(intervals))
		}
	}
}

// manyPorts is a policy with one rule per even port from 2 on.
func manyPorts(n int) *policy.Policy {
	p := &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "n"}, Isolates: [2]bool{true, false}}
	for i := range n {
		port := uint16(2 * (i + 1))
		p.Rules[policy.Ingress] = append(p.Rules[policy.Ingress], policy.Rule{AnyPeer: true, Ports: []policy.Port{{Protocol: policy.TCP, First: port, Last: port}}})
	}
	return p
}

func TestPages(t *testing.T) {
	pod := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "p"}, Node: "here"}
	for _, row := range []struct{ ports, rows, open, problems int }{
		{1, 1, 1, 0}, {14, 1, 14, 0}, {15, 2, 15, 0}, {28, 2, 28, 0}, {29, 3, 29, 0}, {896, 64, 896, 0}, {897, 64, 896, 1}, {2000, 64, 896, 1},
	} {
		e, c, tables := resolve.New("here", resolve.Marks{}), New(), &Tables{}
		u := c.Compile(e.Apply(policy.Batch{Pods: []*policy.Pod{pod}, Policies: []*policy.Policy{manyPorts(row.ports)}}))
		tables.Apply(u)
		open := 0
		for port := range 65536 {
			if allowed, _, _, _ := tables.Judge(pod.ObjectKey, policy.Ingress, netip.MustParseAddr("192.0.2.1"), policy.TCP, uint16(port)); allowed {
				open++
				if port%2 == 1 || port == 0 || port > 2*row.ports {
					t.Fatalf("%d ports: %d is open", row.ports, port)
				}
			}
		}
		if len(u.Rows) != row.rows || open != row.open || len(c.Problems()) != row.problems {
			t.Errorf("%d ports: %d rows, %d open, problems %v; want %+v", row.ports, len(u.Rows), open, c.Problems(), row)
		}
		for _, p := range c.Problems() {
			if p.Intervals != row.ports || !slices.Equal(p.Policies, []policy.ObjectKey{{Namespace: "a", Name: "n"}}) {
				t.Errorf("%d ports: problem %+v", row.ports, p)
			}
		}
		e.Apply(policy.Batch{DeletedPods: []policy.ObjectKey{pod.ObjectKey}})
		tables.Apply(c.Compile(e.Collect()))
		if len(tables.Rows) != 0 || len(c.Problems()) != 0 {
			t.Errorf("%d ports: %d rows and %d problems stay", row.ports, len(tables.Rows), len(c.Problems()))
		}
	}
}

// TestRecycledRow: a value whose key is not the one asked for counts as absent.
func TestRecycledRow(t *testing.T) {
	pod := policy.ObjectKey{Namespace: "a", Name: "p"}
	key := bpf.WeirRowKey{Set: 1, Protocol: uint8(policy.TCP)}
	row := appendPages(nil, key, []interval{{80, 80, 9}})[0]
	tables := &Tables{}
	tables.Apply(&Update{Rows: []bpf.WeirRow{row}, Subjects: []SubjectSets{{SubjectChange: resolve.SubjectChange{Pod: pod, Ingress: 1}, IngressAny: true}}})
	judge := func() bool {
		allowed, _, _, _ := tables.Judge(pod, policy.Ingress, netip.MustParseAddr("192.0.2.1"), policy.TCP, 80)
		return allowed
	}
	if !judge() {
		t.Fatal("the row is not found")
	}
	row.Key.Set = 2
	tables.Rows[key] = row
	if judge() {
		t.Error("a recycled row is read")
	}
	if allowed, _, _, _ := (&Tables{}).Judge(pod, policy.Ingress, netip.MustParseAddr("192.0.2.1"), policy.TCP, 80); allowed {
		t.Error("empty tables allow")
	}
}
