// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/policy"
)

// TestEveryChangeOfContentCounts changes one field at a time: each gives the
// subject another set.
func TestEveryChangeOfContentCounts(t *testing.T) {
	content := func() *policy.Policy {
		return &policy.Policy{
			ObjectKey: policy.ObjectKey{Namespace: "a", Name: "n"}, UID: "1", Isolates: [2]bool{true, false},
			Rules: [2][]policy.Rule{{{
				Peers: []policy.Peer{
					{Namespaces: &policy.Selector{}, Pods: &policy.Selector{Requirements: []policy.Requirement{{Key: "k", Operator: policy.In, Values: []string{"v"}}}}},
					{Block: &policy.Block{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
				},
				Ports: []policy.Port{{Protocol: policy.TCP, First: 80, Last: 80}},
			}}},
		}
	}
	rule := func(p *policy.Policy) *policy.Rule { return &p.Rules[policy.Ingress][0] }
	requirement := func(p *policy.Policy) *policy.Requirement { return &rule(p).Peers[0].Pods.Requirements[0] }
	for _, row := range []struct {
		name   string
		change func(*policy.Policy)
		same   bool
	}{
		{"nothing", func(*policy.Policy) {}, true},
		{"empty for nil", func(p *policy.Policy) { p.Rules[policy.Egress] = []policy.Rule{} }, true},
		{"empty excepts for nil", func(p *policy.Policy) { rule(p).Peers[1].Block.Excepts = []netip.Prefix{} }, true},
		{"uid", func(p *policy.Policy) { p.UID = "2" }, false},
		{"subjects", func(p *policy.Policy) {
			p.Subjects.Requirements = []policy.Requirement{{Key: "x", Operator: policy.DoesNotExist}}
		}, false},
		{"isolates", func(p *policy.Policy) { p.Isolates[policy.Egress] = true }, false},
		{"any peer", func(p *policy.Policy) { rule(p).AnyPeer = true }, false},
		{"any port", func(p *policy.Policy) { rule(p).AnyPort = true }, false},
		{"ports", func(p *policy.Policy) { rule(p).Ports[0].Last = 81 }, false},
		{"problems", func(p *policy.Policy) { rule(p).Problems = []string{"bad"} }, false},
		{"own namespace", func(p *policy.Policy) { rule(p).Peers[0].Namespaces = nil }, false},
		{"pods", func(p *policy.Policy) { rule(p).Peers[0].Pods = nil }, false},
		{"key", func(p *policy.Policy) { requirement(p).Key = "l" }, false},
		{"operator", func(p *policy.Policy) { requirement(p).Operator = policy.NotIn }, false},
		{"values", func(p *policy.Policy) { requirement(p).Values = []string{"v", "w"} }, false},
		{"prefix", func(p *policy.Policy) { rule(p).Peers[1].Block.Prefix = netip.MustParsePrefix("10.0.0.0/9") }, false},
		{"excepts", func(p *policy.Policy) {
			rule(p).Peers[1].Block.Excepts = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/9")}
		}, false},
		{"one peer less", func(p *policy.Policy) { rule(p).Peers = rule(p).Peers[:1] }, false},
		{"no rule", func(p *policy.Policy) { p.Rules[policy.Ingress] = nil }, false},
	} {
		e := New("here", Marks{})
		e.Apply(batch("pod a/p"))
		e.Apply(policy.Batch{Policies: []*policy.Policy{content()}})
		changed := content()
		row.change(changed)
		d := e.Apply(policy.Batch{Policies: []*policy.Policy{changed}})
		if len(d.Subjects) != 1 != row.same || d.Empty() != row.same {
			t.Errorf("%s: %q, want same %t", row.name, summary(e, d), row.same)
		}
	}
}

// TestEqualTermsAreOne: the order of requirements, values and excepts does not
// matter, anything else does.
func TestEqualTermsAreOne(t *testing.T) {
	in := func(key string, values ...string) policy.Requirement {
		return policy.Requirement{Key: key, Operator: policy.In, Values: values}
	}
	has := policy.Requirement{Key: "a", Operator: policy.Exists}
	pods := func(r ...policy.Requirement) policy.Peer { return policy.Peer{Pods: &policy.Selector{Requirements: r}} }
	spaces := func(r ...policy.Requirement) policy.Peer {
		return policy.Peer{Namespaces: &policy.Selector{Requirements: r}}
	}
	block := func(prefix string, excepts ...string) policy.Peer {
		b := &policy.Block{Prefix: netip.MustParsePrefix(prefix)}
		for _, x := range excepts {
			b.Excepts = append(b.Excepts, netip.MustParsePrefix(x))
		}
		return policy.Peer{Block: b}
	}
	for _, row := range []struct {
		name string
		a, b policy.Peer
		same bool
	}{
		{"order of requirements", pods(in("a", "1"), has), pods(has, in("a", "1")), true},
		{"order of values", pods(in("a", "1", "2")), pods(in("a", "2", "1", "2")), true},
		{"values of Exists", pods(has), pods(policy.Requirement{Key: "a", Operator: policy.Exists, Values: []string{"x"}}), true},
		{"two values, two requirements", pods(in("a", "1", "2")), pods(in("a", "1"), in("a", "2")), false},
		{"quotes", pods(in("a", `1";"2`)), pods(in("a", "1", "2")), false},
		{"namespaces or pods", pods(in("a", "1")), spaces(in("a", "1")), false},
		{"every namespace or own", pods(), spaces(), false},
		{"excepts", block("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"), block("10.0.0.0/8", "10.2.0.0/16", "10.1.0.0/16"), true},
		{"host bits", block("10.0.0.0/8"), block("10.0.0.5/8"), true},
		{"except outside", block("10.0.0.0/8"), block("10.0.0.0/8", "11.0.0.0/16"), true},
		{"except or not", block("10.0.0.0/8"), block("10.0.0.0/8", "10.1.0.0/16"), false},
	} {
		a, b := newTerm(row.a, "ns"), newTerm(row.b, "ns")
		if (a.key == b.key) != row.same {
			t.Errorf("%s: %s and %s, want same %t", row.name, a.key, b.key, row.same)
		}
	}
	if newTerm(pods(), "x").key == newTerm(pods(), "y").key {
		t.Error("the own namespaces of two policies are one term")
	}
}
