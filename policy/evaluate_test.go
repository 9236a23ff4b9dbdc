// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// verdict is a Decision in one word: "open", "deny", "node", "self", or the
// rules that allow, the deciding one first: "p0 q1".
func verdict(d Decision) string {
	words := map[Cause]string{NoRule: "deny", NotIsolated: "open", NodeTraffic: "node", Itself: "self"}
	if d.Allowed == (d.Cause == NoRule) {
		return fmt.Sprintf("contradiction: %+v", d)
	}
	if d.Cause != ByRule {
		return words[d.Cause]
	}
	var out []string
	for _, r := range append([]RuleRef{d.Rule}, d.Others...) {
		out = append(out, fmt.Sprintf("%s%d", r.Policy.Name, r.Index))
	}
	return strings.Join(out, " ")
}

type row struct {
	line     int // of the semantics that the row shows
	name     string
	policies []*Policy
	flow     string
	want     string
}

func (r row) run(t *testing.T) {
	t.Run(fmt.Sprintf("%02d %s %s", r.line, r.name, r.flow), func(t *testing.T) {
		c := town(r.policies...)
		if got := verdict(c.Evaluate(c.flow(t, r.flow))); got != r.want {
			t.Errorf("got %s, want %s", got, r.want)
		}
	})
}

type list = []*Policy

func TestEvaluatePeers(t *testing.T) {
	in := func(rules ...Rule) list { return list{ingress("shop/p", "app=db", rules...)} }
	out := func(rules ...Rule) list { return list{egress("shop/p", "app=db", rules...)} }
	web := Peer{Pods: sel("app=web"), Block: block("10.0.0.0/8").Block}
	for _, r := range []row{
		{1, "no policy", nil, "ingress shop/db 10.0.0.1 80/TCP", "open"},
		{1, "ingress only", in(), "ingress shop/db 10.0.0.1 80/TCP", "deny"},
		{1, "ingress only", in(), "egress shop/db 10.0.0.1 80/TCP", "open"},
		{1, "egress only", out(), "ingress shop/db 10.0.0.1 80/TCP", "open"},
		{1, "egress only", out(), "egress shop/db 10.0.0.1 80/TCP", "deny"},
		{1, "other subject", in(), "ingress shop/web 10.0.0.2 80/TCP", "open"},
		{1, "other namespace", list{ingress("shop/p", "")}, "ingress lab/web 10.0.0.1 80/TCP", "open"},
		{1, "empty subject selector", list{ingress("shop/p", "")}, "ingress shop/web 10.0.0.2 80/TCP", "deny"},
		{2, "no rules", in(), "ingress shop/db 8.8.8.8 80/TCP", "deny"},
		{2, "one empty rule", in(to("")), "ingress shop/db 8.8.8.8 80/TCP", "p0"},
		{2, "zero rule", in(Rule{}), "ingress shop/db 10.0.0.1 80/TCP", "deny"},
		{3, "any peer off cluster", in(to("80/TCP")), "ingress shop/db 2001:db8::9 80/TCP", "p0"},
		{3, "every pod of own namespace", in(to("", pods(""))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{3, "every pod of own namespace v6", in(to("", pods(""))), "ingress shop/db fd00::1 1/TCP", "p0"},
		{3, "every pod of own namespace", in(to("", pods(""))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{3, "every pod is not the world", in(to("", pods(""))), "ingress shop/db 8.8.8.8 1/TCP", "deny"},
		{4, "every namespace", in(to("", spaces(""))), "ingress shop/db 10.0.1.2 1/TCP", "p0"},
		{4, "every namespace is not the world", in(to("", spaces(""))), "ingress shop/db 8.8.8.8 1/TCP", "deny"},
		{4, "own namespace is implied", in(to("", pods("app=web"))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{5, "both selectors are and", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{5, "both selectors are and: namespace", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{5, "both selectors are and: pod", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db 10.0.1.2 1/TCP", "deny"},
		{5, "two peers are or", in(to("", spaces("team=b"), pods("app=web"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{5, "two peers are or", in(to("", spaces("team=b"), pods("app=web"))), "ingress shop/db 10.0.1.2 1/TCP", "p0"},
		{6, "except", in(to("", block("10.0.0.0/8", "10.0.0.0/30"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{6, "beside the except", in(to("", block("10.0.0.0/8", "10.0.0.0/30"))), "ingress shop/db 10.0.0.4 1/TCP", "p0"},
		{6, "except, other peer", in(to("", block("10.0.0.0/8", "10.0.0.0/30"), block("10.0.0.0/16"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{6, "except, other rule", in(to("1/TCP", block("10.0.0.0/8", "10.0.0.0/30")), to("2/TCP", pods("app=web"))), "ingress shop/db 10.0.0.1 2/TCP", "p1"},
		{6, "except, other rule, first port", in(to("1/TCP", block("10.0.0.0/8", "10.0.0.0/30")), to("2/TCP", pods("app=web"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{6, "block within the except", in(to("", block("10.0.0.0/8", "10.0.0.0/16"), block("10.0.0.0/24"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{6, "second except", in(to("", block("10.0.0.0/8", "10.9.0.0/16", "10.0.0.1/32"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{7, "/0 is every IPv4", out(to("", block("0.0.0.0/0"))), "egress shop/db 8.8.8.8 1/TCP", "p0"},
		{7, "/0 is no IPv6", out(to("", block("0.0.0.0/0"))), "egress shop/db 2001:db8::1 1/TCP", "deny"},
		{7, "::/0 is every IPv6", out(to("", block("::/0"))), "egress shop/db 2001:db8::1 1/TCP", "p0"},
		{7, "::/0 is no IPv4", out(to("", block("::/0"))), "egress shop/db 8.8.8.8 1/TCP", "deny"},
		{7, "::/0 is no mapped IPv4", out(to("", block("::/0"))), "egress shop/db ::ffff:8.8.8.8 1/TCP", "deny"},
		{7, "mapped IPv4 is IPv4", out(to("", block("8.8.8.0/24"))), "egress shop/db ::ffff:8.8.8.8 1/TCP", "p0"},
		{7, "/32", out(to("", block("8.8.8.8/32"))), "egress shop/db 8.8.8.8 1/TCP", "p0"},
		{7, "/32", out(to("", block("8.8.8.8/32"))), "egress shop/db 8.8.8.9 1/TCP", "deny"},
		{7, "/128", out(to("", block("2001:db8::1/128"))), "egress shop/db 2001:db8::1 1/TCP", "p0"},
		{7, "/128", out(to("", block("2001:db8::1/128"))), "egress shop/db 2001:db8::2 1/TCP", "deny"},
		{8, "block matches a pod", in(to("", block("10.0.0.0/24"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{8, "block matches a pod v6", in(to("", block("fd00::/64"))), "ingress shop/db fd00::1 1/TCP", "p0"},
		{27, "::/0 is not link-local", in(to("", block("::/0"))), "ingress shop/db fe80::1 1/TCP", "deny"},
		{27, "fe80::/9 is not link-local", in(to("", block("fe80::/9"))), "ingress shop/db fe80::1 1/TCP", "deny"},
		{27, "fe80::/10 is link-local", in(to("", block("fe80::/10"))), "ingress shop/db fe80::1 1/TCP", "p0"},
		{27, "fe80::/64 is link-local", in(to("", block("fe80::/64"))), "ingress shop/db fe80::1%eth0 1/TCP", "p0"},
		{27, "any peer is link-local too", in(to("")), "ingress shop/db fe80::1 1/TCP", "p0"},
		{27, "no pod is link-local", in(to("", pods("app=web"))), "ingress shop/db fe80::7 1/TCP", "deny"},
		{27, "IPv4 link-local is like any", in(to("", block("0.0.0.0/0"))), "ingress shop/db 169.254.1.1 1/TCP", "p0"},
		{34, "unknown namespace", in(to("", spaces(""))), "ingress shop/db 10.0.2.1 1/TCP", "deny"},
		{34, "unknown namespace, negated", in(to("", spaces("team notin a"))), "ingress shop/db 10.0.2.1 1/TCP", "deny"},
		{34, "unknown namespace selects by name", list{ingress("ghost/p", "", to("", pods("app=web")))}, "ingress ghost/web 10.0.0.1 1/TCP", "deny"},
		{34, "unknown namespace, own pods", list{egress("ghost/p", "", to("", pods("")))}, "egress ghost/web 10.0.1.1 1/TCP", "deny"},
		{35, "no field", in(to("", Peer{})), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{35, "block and selector", in(to("", web)), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{35, "no field beside a good one", in(to("", Peer{}, pods("app=web"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
	} {
		r.run(t)
	}
}

func TestEvaluatePorts(t *testing.T) {
	in := func(rules ...Rule) list { return list{ingress("shop/p", "app=db", rules...)} }
	out := func(rules ...Rule) list { return list{egress("shop/p", "app=db", rules...)} }
	for _, r := range []row{
		{9, "no ports is every port", in(to("")), "ingress shop/db 10.0.0.1 0/ICMP", "p0"},
		{9, "no ports is every protocol", in(to("")), "ingress shop/db 10.0.0.1 0/47", "p0"},
		{9, "no ports is UDP too", in(to("")), "ingress shop/db 10.0.0.1 53/UDP", "p0"},
		{9, "TCP is not UDP", in(to("53/TCP")), "ingress shop/db 10.0.0.1 53/UDP", "deny"},
		{10, "SCTP is not TCP", in(to("80/TCP")), "ingress shop/db 10.0.0.1 80/SCTP", "deny"},
		{10, "TCP is not SCTP", in(to("80/SCTP")), "ingress shop/db 10.0.0.1 80/TCP", "deny"},
		{10, "SCTP", in(to("80/SCTP")), "ingress shop/db 10.0.0.1 80/SCTP", "p0"},
		{10, "unknown protocol of a rule", in(to("*/0")), "ingress shop/db 10.0.0.1 80/TCP", "deny"},
		{10, "unknown protocol of both", in(to("*/0")), "ingress shop/db 10.0.0.1 0/0", "deny"},
		{11, "all of one protocol", in(to("*/UDP")), "ingress shop/db 10.0.0.1 65535/UDP", "p0"},
		{11, "all of one protocol", in(to("*/UDP")), "ingress shop/db 10.0.0.1 53/TCP", "deny"},
		{12, "below the range", in(to("8000-8002/TCP")), "ingress shop/db 10.0.0.1 7999/TCP", "deny"},
		{12, "first of the range", in(to("8000-8002/TCP")), "ingress shop/db 10.0.0.1 8000/TCP", "p0"},
		{12, "last of the range", in(to("8000-8002/TCP")), "ingress shop/db 10.0.0.1 8002/TCP", "p0"},
		{12, "above the range", in(to("8000-8002/TCP")), "ingress shop/db 10.0.0.1 8003/TCP", "deny"},
		{13, "ingress name on the subject", in(to("sql/TCP")), "ingress shop/db 10.0.0.1 5432/TCP", "p0"},
		{13, "ingress name on the subject", in(to("sql/TCP")), "ingress shop/db 8.8.8.8 5432/TCP", "p0"},
		{13, "ingress name, other protocol", in(to("sql/UDP")), "ingress shop/db 10.0.0.1 5432/UDP", "deny"},
		{13, "ingress name is not the peer's", in(to("dns/UDP")), "ingress shop/db 10.0.0.1 53/UDP", "deny"},
		{13, "ingress name twice, first", in(to("http/TCP")), "ingress shop/db 10.0.0.1 80/TCP", "p0"},
		{13, "ingress name twice, second", in(to("http/TCP")), "ingress shop/db 10.0.0.1 81/TCP", "p0"},
		{13, "ingress name twice, neither", in(to("http/TCP")), "ingress shop/db 10.0.0.1 8080/TCP", "deny"},
		{13, "egress name on the peer", out(to("http/TCP", spaces(""))), "egress shop/db 10.0.0.1 8080/TCP", "p0"},
		{13, "egress name on another peer", out(to("http/TCP", spaces(""))), "egress shop/db 10.0.1.1 9090/TCP", "p0"},
		{13, "egress number of another peer", out(to("http/TCP", spaces(""))), "egress shop/db 10.0.1.1 8080/TCP", "deny"},
		{13, "egress name is not the subject's", out(to("sql/TCP", pods(""))), "egress shop/db 10.0.0.1 5432/TCP", "deny"},
		{13, "egress name to any pod", out(to("http/TCP")), "egress shop/db 10.0.1.1 9090/TCP", "p0"},
		{13, "egress name to any pod, ghost", out(to("http/TCP")), "egress shop/db 10.0.2.1 8080/TCP", "p0"},
		{13, "egress name off cluster", out(to("http/TCP")), "egress shop/db 8.8.8.8 8080/TCP", "deny"},
		{13, "egress name, protocol", out(to("dns/TCP")), "egress shop/db 10.0.0.1 53/TCP", "deny"},
		{13, "unknown name", in(to("nope/TCP")), "ingress shop/db 10.0.0.1 80/TCP", "deny"},
		{13, "name beside a number", in(to("nope/TCP,80/TCP")), "ingress shop/db 10.0.0.1 80/TCP", "p0"},
		{14, "name towards a block", out(to("http/TCP", block("10.0.0.0/8"))), "egress shop/db 10.0.1.1 9090/TCP", "p0"},
		{14, "name towards a block, no pod", out(to("http/TCP", block("0.0.0.0/0"))), "egress shop/db 8.8.8.8 9090/TCP", "deny"},
		{14, "name towards a block, pod without it", out(to("http/TCP", block("10.0.0.0/8"))), "egress shop/db 10.0.1.2 9090/TCP", "deny"},
		{14, "name towards a block, pod outside", out(to("http/TCP", block("10.0.0.0/24"))), "egress shop/db 10.0.1.1 9090/TCP", "deny"},
		{27, "ICMP with ports", in(to("*/TCP,*/UDP")), "ingress shop/db 10.0.0.1 0/ICMP", "deny"},
		{27, "ICMP is not a port's protocol", in(to("*/ICMP")), "ingress shop/db 10.0.0.1 0/ICMP", "deny"},
		{27, "ICMPv6 without ports", in(to("", pods("app=web"))), "ingress shop/db fd00::1 0/ICMPv6", "p0"},
		{33, "port 0 of a protocol", in(to("*/TCP")), "ingress shop/db 10.0.0.1 0/TCP", "p0"},
		{33, "port 0 without ports", in(to("")), "ingress shop/db 10.0.0.1 0/TCP", "p0"},
		{33, "port 0 and a full range", in(to("1-65535/TCP")), "ingress shop/db 10.0.0.1 0/TCP", "deny"},
		{33, "a range that begins at 0", in(to("0-80/TCP")), "ingress shop/db 10.0.0.1 0/TCP", "deny"},
		{33, "port 0 and number 0", in(to("0/TCP")), "ingress shop/db 10.0.0.1 0/TCP", "deny"},
		{33, "port 1", in(to("1/TCP")), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{33, "port 65535", in(to("65535/TCP")), "ingress shop/db 10.0.0.1 65535/TCP", "p0"},
		{33, "port 65535 of the full range", in(to("1-65535/TCP")), "ingress shop/db 10.0.0.1 65535/TCP", "p0"},
		{33, "overlapping ranges", in(to("10-20/TCP,15-30/TCP")), "ingress shop/db 10.0.0.1 25/TCP", "p0"},
		{36, "GRE with ports", in(to("*/TCP")), "ingress shop/db 10.0.0.1 0/47", "deny"},
		{36, "GRE, other peer", in(to("", pods("app=x"))), "ingress shop/db 10.0.0.1 0/47", "deny"},
	} {
		r.run(t)
	}
}

func TestEvaluateObjects(t *testing.T) {
	in := func(rules ...Rule) list { return list{ingress("shop/p", "app=db", rules...)} }
	out := func(rules ...Rule) list { return list{egress("shop/p", "app=db", rules...)} }
	four := list{ingress("shop/q", "", to(""), to("80/TCP")), ingress("shop/p", "app=db", to("1/TCP"), to("80/TCP", pods("app=web"))), ingress("shop/r", "app=db"), ingress("shop/s", "app=web")}
	for _, r := range []row{
		{15, "source's end", list{egress("shop/p", "app=web"), ingress("shop/q", "app=db", to(""))}, "egress shop/web 10.0.0.2 1/TCP", "deny"},
		{15, "destination's end", list{egress("shop/p", "app=web"), ingress("shop/q", "app=db", to(""))}, "ingress shop/db 10.0.0.1 1/TCP", "q0"},
		{16, "policies add up", list{ingress("shop/p", "app=db"), ingress("shop/q", "tier=back", to("80/TCP"))}, "ingress shop/db 10.0.0.1 80/TCP", "q0"},
		{16, "first by name, then index", four, "ingress shop/db 10.0.0.1 80/TCP", "p1 q0 q1"},
		{16, "first that allows", four, "ingress shop/db 10.0.0.1 2/TCP", "q0"},
		{20, "hostNetwork is no peer", in(to("", pods("app=web"))), "ingress shop/db 192.168.0.7 1/TCP", "deny"},
		{20, "hostNetwork by block", in(to("", block("192.168.0.0/24"))), "ingress shop/db 192.168.0.7 1/TCP", "p0"},
		{20, "hostNetwork has no named port", out(to("http/TCP")), "egress shop/db 192.168.0.7 8080/TCP", "deny"},
		{20, "hostNetwork is no subject", list{ingress("shop/p", "")}, "ingress shop/host 10.0.0.1 1/TCP", "open"},
		{21, "an ended pod is no peer", in(to("", pods("app=web"))), "ingress shop/db 10.0.0.9 1/TCP", "deny"},
		{21, "an ended pod is no subject", list{ingress("shop/p", "")}, "ingress shop/job 10.0.0.1 1/TCP", "open"},
		{21, "two holders: both match", in(to("", pods("app=web"))), "ingress shop/db 10.0.3.3 1/TCP", "p0"},
		{21, "two holders: the old one", in(to("", pods("gen=1"))), "ingress shop/db 10.0.3.3 1/TCP", "deny"},
		{21, "two holders: the new one", in(to("", pods("gen=2"))), "ingress shop/db 10.0.3.3 1/TCP", "deny"},
		{21, "two holders: one peer each", in(to("", pods("gen=1"), pods("gen=2"))), "ingress shop/db 10.0.3.3 1/TCP", "deny"},
		{21, "two holders: common name", out(to("http/TCP")), "egress shop/db 10.0.3.3 8080/TCP", "p0"},
		{21, "two holders: names that differ", out(to("adm/TCP")), "egress shop/db 10.0.3.3 1/TCP", "deny"},
		{21, "two holders: names that differ", out(to("adm/TCP")), "egress shop/db 10.0.3.3 2/TCP", "deny"},
		{22, "first address", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{22, "second address", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db fd00:1::1 1/TCP", "p0"},
		{22, "mapped address", in(to("", podsIn("team=b", "app=web"))), "ingress shop/db ::ffff:10.0.1.1 1/TCP", "p0"},
		{22, "a subject without address", list{ingress("shop/p", "")}, "ingress shop/waiting 10.0.0.1 1/TCP", "deny"},
		{25, "itself", in(), "ingress shop/db 10.0.0.2 1/TCP", "self"},
		{25, "itself by its other address", out(), "egress shop/db fd00::2 1/TCP", "self"},
		{25, "itself, mapped", in(), "ingress shop/db ::ffff:10.0.0.2 1/TCP", "self"},
		{31, "In", in(to("", pods("app in x|web"))), "ingress shop/db 10.0.0.1 1/TCP", "p0"},
		{31, "In without the key", in(to("", spaces("absent in x|y"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{31, "NotIn", in(to("", podsIn("", "app notin web|x"))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{31, "NotIn without the key", in(to("", podsIn("", "app notin web|x"))), "ingress shop/db 10.0.1.2 1/TCP", "p0"},
		{31, "In with an empty value", in(to("", podsIn("", "mark in |x"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{31, "In with an empty value, without the key", in(to("", podsIn("", "mark in |x"))), "ingress shop/db 10.0.1.2 1/TCP", "deny"},
		{31, "NotIn with an empty value", in(to("", podsIn("", "mark notin |x"))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{31, "NotIn with an empty value, without the key", in(to("", podsIn("", "mark notin |x"))), "ingress shop/db 10.0.1.2 1/TCP", "p0"},
		{31, "Exists", in(to("", podsIn("", "app"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{31, "Exists without the key", in(to("", podsIn("", "app"))), "ingress shop/db 10.0.1.2 1/TCP", "deny"},
		{31, "DoesNotExist", in(to("", podsIn("", "!app"))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{31, "DoesNotExist without the key", in(to("", podsIn("", "!app"))), "ingress shop/db 10.0.1.2 1/TCP", "p0"},
		{31, "two requirements are and", in(to("", pods("app=web,gen"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{31, "namespace NotIn", in(to("", spaces("team notin a"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{31, "namespace DoesNotExist", in(to("", spaces("!team"))), "ingress shop/db 10.0.1.1 1/TCP", "deny"},
		{31, "namespace by name", in(to("", spaces("kubernetes.io/metadata.name=lab"))), "ingress shop/db 10.0.1.1 1/TCP", "p0"},
		{31, "namespace by another name", in(to("", spaces("kubernetes.io/metadata.name=lab"))), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{31, "zero operator", in(to("", Peer{Pods: &Selector{Requirements: []Requirement{{Key: "app"}}}})), "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{31, "subjects by expression", list{ingress("shop/p", "app notin web")}, "ingress shop/db 10.0.0.1 1/TCP", "deny"},
		{31, "subjects by expression", list{ingress("shop/p", "app notin web")}, "ingress shop/web 10.0.0.2 1/TCP", "open"},
	} {
		r.run(t)
	}
}

func TestEvaluateAtOwnNode(t *testing.T) {
	c := town(ingress("shop/p", ""), egress("shop/p", ""))
	for _, d := range Directions {
		f := Flow{Direction: d, Subject: c.pod(t, "shop/db"), Peer: netip.MustParseAddr("192.168.0.7"), Protocol: TCP, Port: 1}
		if got := verdict(c.Evaluate(f)); got != "deny" {
			t.Errorf("%s, another node: got %s, want deny", d, got)
		}
		f.OwnNode = true
		if got := verdict(c.Evaluate(f)); got != "node" {
			t.Errorf("%s, own node: got %s, want node", d, got)
		}
	}
}

func TestEvaluateNamesIsolatingPolicies(t *testing.T) {
	c := town(ingress("shop/z", ""), egress("shop/y", ""), ingress("shop/a", "app=db", to("")), ingress("lab/b", ""), ingress("shop/c", "app=web"))
	got := c.Evaluate(c.flow(t, "ingress shop/db 10.0.0.1 1/TCP")).Isolating
	if want := []ObjectKey{objectKey("shop/a"), objectKey("shop/z")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEvaluateDeniesWhatItCannotJudge(t *testing.T) {
	c := town()
	for name, f := range map[string]Flow{
		"no subject":        {Peer: netip.MustParseAddr("10.0.0.1"), OwnNode: true},
		"unknown direction": {Direction: 2, Subject: c.pod(t, "shop/db"), OwnNode: true},
	} {
		if d := c.Evaluate(f); d.Allowed || d.Cause != NoRule {
			t.Errorf("%s: got %+v, want a denial", name, d)
		}
	}
	isolated := town(ingress("shop/p", "app=db", to("", spaces(""), block("::/0"), block("0.0.0.0/0"))))
	if d := isolated.Evaluate(Flow{Subject: isolated.pod(t, "shop/db"), Protocol: TCP, Port: 1}); d.Allowed {
		t.Errorf("no peer address: got %+v, want a denial", d)
	}
}
