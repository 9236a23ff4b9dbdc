// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestOutcomeSaysWhy(t *testing.T) {
	problem := Rule{AnyPort: true, Problems: []string{`from[0]: ipBlock.cidr: "x" is not a CIDR`}}
	for _, r := range []struct {
		name string
		flow string
		rule Rule
		want string
	}{
		{"match", "ingress shop/db 10.0.0.1 80/TCP", to("80/TCP", pods("app=web")), "pods app=web in the same namespace on 80/TCP"},
		{"port", "ingress shop/db 10.0.0.1 443/TCP", to("5432/TCP"), "port 443 is not 5432"},
		{"ports", "ingress shop/db 10.0.0.1 443/TCP", to("80/TCP,8000-8100/TCP,sql/TCP"), "port 443 is not 80 or 8000-8100 or sql (5432)"},
		{"many ports", "ingress shop/db 10.0.0.1 443/TCP", to("1/TCP,2/TCP,3/TCP,4/TCP,5/TCP"), "port 443 is not 1 or 2 or 3 or 2 more"},
		{"protocol", "ingress shop/db 10.0.0.1 53/TCP", to("53/UDP"), "port 53/TCP is not 53/UDP"},
		{"mixed", "ingress shop/db 10.0.0.1 53/TCP", to("*/UDP,http/TCP"), "port 53/TCP is not any UDP port or http/TCP (80 81)"},
		{"ICMP", "ingress shop/db 10.0.0.1 0/ICMP", to("53/UDP"), "ICMP has no ports, and the rule names some"},
		{"undefined name", "ingress shop/db 10.0.0.1 80/TCP", to("web/TCP"), "named port web is not defined on shop/db"},
		{"name of another protocol", "ingress shop/db 10.0.0.1 80/UDP", to("sql/UDP"), "named port sql of shop/db is TCP, not UDP"},
		{"name and number", "ingress shop/db 10.0.0.1 443/TCP", to("web/TCP,80/TCP"), "port 443 is not 80, named port web is not defined on shop/db"},
		{"name off cluster", "egress shop/db 8.8.8.8 80/TCP", to("http/TCP"), "named port http is a pod's, and 8.8.8.8 is not a pod's address"},
		{"name on the peer", "egress shop/db 10.0.0.1 80/TCP", to("http/TCP"), "port 80 is not http (8080)"},
		{"name of two holders", "egress shop/db 10.0.3.3 1/TCP", to("adm/TCP"), "named port adm is not the same on all 2 pods with 10.0.3.3"},
		{"block", "ingress shop/db 10.1.2.3 80/TCP", to("", block("10.0.0.0/24")), "10.1.2.3 is not in 10.0.0.0/24"},
		{"blocks", "ingress shop/db 10.1.2.3 80/TCP", to("", block("10.0.0.0/24"), block("10.0.1.0/24"), block("10.0.2.0/24"), block("10.0.3.0/24")), "10.1.2.3 is not in 10.0.0.0/24, 10.1.2.3 is not in 10.0.1.0/24, 10.1.2.3 is not in 10.0.2.0/24, 1 more"},
		{"except", "ingress shop/db 10.0.0.5 80/TCP", to("", block("10.0.0.0/24", "10.0.0.4/30")), "10.0.0.5 is excepted from 10.0.0.0/24 by 10.0.0.4/30"},
		{"link-local", "ingress shop/db fe80::1 80/TCP", to("", block("::/0")), "fe80::1 is link-local, and ::/0 does not speak of such addresses"},
		{"labels", "ingress shop/db 10.0.0.1 80/TCP", to("", pods("app=frontend")), "peer shop/web is not app=frontend"},
		{"namespace", "ingress shop/db 10.0.0.1 80/TCP", to("", podsIn("team=b", "app=web")), "peer shop/web is not in a namespace with team=b"},
		{"both", "ingress shop/db 10.0.0.1 80/TCP", to("", podsIn("team=b", "app=x")), "peer shop/web is not app=x and is not in a namespace with team=b"},
		{"own namespace", "ingress shop/db 10.0.1.1 80/TCP", to("", pods("app=web")), "peer lab/web is not in namespace shop"},
		{"unknown namespace", "ingress shop/db 10.0.2.1 80/TCP", to("", spaces("")), "peer ghost/web is in a namespace whose labels are not known yet"},
		{"no pod", "ingress shop/db 8.8.8.8 80/TCP", to("", podsIn("team=a", "app=web")), "8.8.8.8 is not a pod's address (wanted: pods app=web in namespaces team=a)"},
		{"two holders", "ingress shop/db 10.0.3.3 80/TCP", to("", pods("gen=1")), "peer shop/new, one of 2 pods with 10.0.3.3, is not gen=1"},
		{"neither", "ingress shop/db 8.8.8.8 443/TCP", to("80/TCP", block("10.0.0.0/8")), "8.8.8.8 is not in 10.0.0.0/8; port 443 is not 80"},
		{"invalid peer", "ingress shop/db 8.8.8.8 443/TCP", to("", Peer{}), "the peer has to be either selectors or an ipBlock"},
		{"unusable", "ingress shop/db 8.8.8.8 443/TCP", problem, `the rule has no usable peer: from[0]: ipBlock.cidr: "x" is not a CIDR`},
		{"zero rule", "ingress shop/db 8.8.8.8 443/TCP", Rule{}, "the rule has no usable peer; the rule has no usable port"},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := &Policy{ObjectKey: objectKey("shop/p"), Isolates: [2]bool{true, true}, Rules: [2][]Rule{{r.rule}, {r.rule}}}
			c := town(p)
			got := Outcomes(c, c.flow(t, r.flow))
			if len(got) != 1 || got[0].Why != r.want {
				t.Errorf("got  %+v\nwant %s", got, r.want)
			}
		})
	}
}

func TestOutcomesNameOnlyRulesThatApply(t *testing.T) {
	c := town(ingress("shop/z", "", to(""), to("1/TCP")), egress("shop/y", "", to("")), ingress("shop/a", "app=db", to("2/TCP")), ingress("shop/c", "app=web", to("")), ingress("lab/d", "", to("")))
	var got []string
	for _, o := range Outcomes(c, c.flow(t, "ingress shop/db 10.0.0.1 1/TCP")) {
		got = append(got, fmt.Sprint(o.Rule, " ", o.Matched))
	}
	want := []string{"shop/a ingress rule 0 false", "shop/z ingress rule 0 true", "shop/z ingress rule 1 true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Outcomes(c, Flow{Direction: 9, Subject: c.Pods[0]}); got != nil {
		t.Errorf("unknown direction: got %v, want none", got)
	}
	if got, ok := NearestOf(c.Policies, Flow{}, c.Pods, c.namespace); ok {
		t.Errorf("no subject: got nearest %v, want none", got)
	}
	if got := Outcomes(c, Flow{}); got != nil {
		t.Errorf("no subject: got %v, want none", got)
	}
}

func TestNearest(t *testing.T) {
	for _, r := range []struct {
		name     string
		flow     string
		policies []*Policy
		want     string
	}{
		{"none", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "")}, "none"},
		{"all matched", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to(""))}, "none"},
		{"the matched one is no miss", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to(""), to("1/TCP"))}, "a1 79"},
		{"peer before port", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("80/TCP", pods("app=x")), to("9999/TCP"))}, "a1 9919"},
		{"port before neither", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("81/TCP", pods("app=x")), to("80/TCP", pods("app=y")))}, "a1 0"},
		{"smaller distance below", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("90/TCP"), to("70-75/TCP"))}, "a1 5"},
		{"smaller distance above", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("70-75/TCP"), to("84-90/TCP"))}, "a1 4"},
		{"nearest of one rule", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("82/TCP"), to("1/TCP,81/TCP,9/TCP"))}, "a1 1"},
		{"same protocol first", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("80/UDP"), to("65535/TCP"))}, "a1 65455"},
		{"a name that resolves", "ingress shop/db 10.0.0.1 82/TCP", list{ingress("shop/a", "", to("nope/TCP"), to("http/TCP"))}, "a1 1"},
		{"a name that does not", "ingress shop/db 10.0.0.1 82/TCP", list{ingress("shop/a", "", to("nope/TCP"))}, "a0 131072"},
		{"no ports in ICMP", "ingress shop/db 10.0.0.1 0/ICMP", list{ingress("shop/a", "", to("1/TCP"))}, "a0 131072"},
		{"tie by policy", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/b", "", to("81/TCP")), ingress("shop/a", "", to("81/TCP"))}, "a0 1"},
		{"tie by index", "ingress shop/db 10.0.0.1 80/TCP", list{ingress("shop/a", "", to("81/TCP"), to("79/TCP"))}, "a0 1"},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := town(r.policies...)
			outcomes := Outcomes(c, c.flow(t, r.flow))
			slices.Reverse(outcomes)
			got := "none"
			if o, ok := Nearest(outcomes); ok {
				got = fmt.Sprintf("%s%d %d", o.Rule.Policy.Name, o.Rule.Index, o.Distance)
			}
			if got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	for _, r := range []struct{ got, want string }{
		{RuleText(to("")), "any peer on any port"},
		{RuleText(Rule{}), "no peer on no port"},
		{RuleText(to("80/TCP,8000-8100/TCP,dns/UDP,*/SCTP", pods("app=web"), block("10.0.0.0/24", "10.0.0.4/30", "10.0.0.8/30"))), "pods app=web in the same namespace or 10.0.0.0/24 except 10.0.0.4/30 and 10.0.0.8/30 on 80/TCP, 8000-8100/TCP, dns/UDP, any SCTP port"},
		{RuleText(to("", spaces(""), spaces("team=a"), pods(""), podsIn("team=a", "app"))), "all pods in all namespaces or all pods in namespaces team=a or all pods in the same namespace or pods app in namespaces team=a on any port"},
		{SelectorText(*sel("")), "everything"},
		{SelectorText(*sel("a=b,c in d|e,f notin g|h,i,!j")), "a=b,c in (d,e),f notin (g,h),i,!j"},
		{SelectorText(Selector{Requirements: []Requirement{{Key: "a"}}}), "a with an unknown operator"},
		{RuleRef{Policy: objectKey("shop/p"), Direction: Egress, Index: 3}.String(), "shop/p egress rule 3"},
		{Direction(7).String(), "direction 7"},
		{fmt.Sprint(ICMP, TCP, UDP, SCTP, ICMPv6, Protocol(47)), "ICMP TCP UDP SCTP ICMPv6 protocol 47"},
	} {
		if r.got != r.want {
			t.Errorf("got  %s\nwant %s", r.got, r.want)
		}
	}
	p := egress("shop/p", "", Rule{}, Rule{Problems: []string{"one", "two"}})
	if got, want := p.Problems(), []string{"egress rule 1: one", "egress rule 1: two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkNearest(b *testing.B) {
	var policies []*Policy
	for i := range 10 {
		rules := []Rule{to("80/TCP", pods("app=x"), block("172.16.0.0/12")), to("http/TCP,443/TCP", podsIn("team=b", "app=y"))}
		policies = append(policies, ingress(fmt.Sprintf("shop/p%d", i), "app=db", rules...))
	}
	c := town(policies...)
	f := Flow{Subject: c.Pods[1], Peer: netip.MustParseAddr("10.0.0.1"), Protocol: TCP, Port: 5432}
	peers := c.Pods[:1]
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := NearestOf(policies, f, peers, c.namespace); !ok {
			b.Fatal("nothing missed")
		}
	}
}
