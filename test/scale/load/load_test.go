// SPDX-License-Identifier: Apache-2.0

package load

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Plan)
		want   string // part of the error; empty: none
	}{
		{"defaults", func(*Plan) {}, ""},
		{"no node", func(p *Plan) { p.Nodes = 0 }, "nodes is 0"},
		{"more nodes than ranges", func(p *Plan) { p.Nodes = 1025 }, "nodes is 1025"},
		{"more local pods than addresses", func(p *Plan) { p.Local = 241 }, "local pods is 241"},
		{"a namespace without a local pod", func(p *Plan) { p.Namespaces = 201 }, "namespaces is 201"},
		{"too few policies for each kind", func(p *Plan) { p.Policies = 999 }, "policies is 999"},
		{"all pods churned", func(p *Plan) { p.Life = 10 * time.Minute }, "pods that stay is -2200"},
	} {
		p := Defaults()
		row.change(&p)
		err := p.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestRangesAreApart(t *testing.T) {
	seen := map[netip.Prefix]int{}
	for i := range maxNodes {
		for k, text := range ranges(i) {
			p := netip.MustParsePrefix(text)
			if other, ok := seen[p]; ok || p != p.Masked() || !Ranges()[k].Contains(p.Addr()) {
				t.Fatalf("node %d has %s, as node %d, or outside %s", i, p, other, Ranges()[k])
			}
			seen[p] = i
		}
	}
}

// Half of the churned pods cost writes, in every namespace and on every node
// over time; the others match no term.
func TestHalfIsMatched(t *testing.T) {
	p := Defaults()
	named, plain := 0, 0
	for i := range 10 * p.Churned() {
		if Key(churnPod(i, p)) != "" {
			named++
		} else {
			plain++
		}
	}
	if named != plain {
		t.Errorf("%d churned pods are named by policies and %d are not, want halves", named, plain)
	}
	named = 0
	for i := range p.Steady() {
		if Key(steadyPod(i, p)) != "" {
			named++
		}
	}
	if share := float64(named) / float64(p.Steady()); share < 0.49 || share > 0.51 {
		t.Errorf("%.3f of the pods that stay are named by policies, want half", share)
	}
}

func TestEveryLocalPodIsSelectedByEveryKind(t *testing.T) {
	p := Defaults()
	kinds := map[string]int{}
	for i := range p.Policies {
		policy := policy(i, p)
		if len(policy.Spec.PodSelector.MatchLabels)+len(policy.Spec.PodSelector.MatchExpressions) > 0 {
			t.Fatalf("%s does not select every pod", policy.Name)
		}
		kinds[policy.Namespace]++
	}
	for i := range p.Local {
		if n := kinds[LocalPod(i, p).Namespace]; n != policyKinds {
			t.Errorf("local pod %d is selected by %d policies, want %d", i, n, policyKinds)
		}
	}
}

// The calls that probes make follow from the labels.
func TestLocalCalls(t *testing.T) {
	p := Defaults()
	for _, c := range LocalCalls() {
		from, to := LocalPod(c.From, p), LocalPod(c.To, p)
		same := (c.From-c.To)%teams == 0
		pass := same && from.Labels[roleKey] == peerRole && to.Labels[roleKey] == peerRole
		if pass != c.Pass {
			t.Errorf("%d to %d: pass %v, the labels say %v", c.From, c.To, c.Pass, pass)
		}
	}
}
