// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"
)

func TestDHCP(t *testing.T) {
	f := four()
	sealed := func(w *world) { w.sets(setNone, setNone) }
	ask := f.udp("0.0.0.0:68", "255.255.255.255:67").Pad(240)
	answer, broadcast := f.udp("N:67", "A:68").Pad(240), f.udp("N:67", "255.255.255.255:68").Pad(240)
	const yes = "allowed configuration"
	list(t, machine(t, nil), f, []row{
		{"a question", sealed, []step{out(ask, yes)}},
		{"its answer", sealed, []step{out(ask, yes), in(answer, yes)}},
		{"its answer, broadcast", sealed, []step{out(ask, yes), in(broadcast, yes)}},
		{"its answer, in time", sealed, []step{out(ask, yes), idle(28), in(answer, yes)}},
		{"its answer, too late", sealed, []step{out(ask, yes), idle(31), in(answer, "denied no-rule")}},
		{"asked twice", sealed, []step{out(ask, yes), idle(20), out(ask, "allowed *"), idle(20), in(answer, yes)}},
		{"an answer that nobody asked for", sealed, []step{in(answer, "denied no-rule"), in(broadcast, "denied no-rule")}},
		{"an answer from another port", sealed, []step{out(ask, yes), in(f.udp("N:66", "A:68"), "denied no-rule")}},
		{"an answer by IPv6, which nobody asked", sealed, []step{out(ask, yes), in(six().udp("X:67", "A:68"), "denied no-rule")}},
		{"renewal is judged by policy", sealed, []step{out(f.udp("A:68", "C:67"), "denied no-rule")}},
		{"a question from its own address is judged by policy", sealed, []step{out(f.udp("A:68", "255.255.255.255:67"), "denied no-rule")}},
		{"the other direction of the question", sealed, []step{in(ask, "denied no-rule")}},
	})
}

func TestGroups(t *testing.T) {
	v4, v6 := four(), six()
	sealed := func(w *world) { w.sets(setNone, setNone) }
	group := netip.MustParseAddr("239.1.2.3")
	const yes = "allowed configuration"
	m := machine(t, nil)
	list(t, m, v4, []row{
		{"IGMP report", sealed, []step{out(IGMP(v4.at("A"), group), yes)}},
		{"IGMP report with options", sealed, []step{out(IGMP(v4.at("A"), group).Options(1), yes)}},
		{"IGMP to the pod", sealed, []step{in(IGMP(v4.at("N"), netip.MustParseAddr("224.0.0.1")), yes)}},
		{"IGMP with TTL 2", sealed, []step{out(IGMP(v4.at("A"), group).Hops(2), "denied no-rule")}},
		{"IGMP to a peer", sealed, []step{out(IGMP(v4.at("A"), v4.at("C")), "denied no-rule")}},
		{"IGMP with another's source", sealed, []step{out(IGMP(v4.at("B"), group), "denied spoofed")}},
		{"UDP to a group is judged by policy", sealed, []step{out(v4.udp("A:1", "239.1.2.3:9"), "denied no-rule")}},
	})
	self, none := netip.MustParseAddr("fe80::aa"), netip.IPv6Unspecified()
	all, reports, mine := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::16"), netip.MustParseAddr("ff02::1:3")
	wide := netip.MustParseAddr("ff05::16")
	list(t, m, v6, []row{
		{"MLD report", sealed, []step{out(MLD(131, self, mine, mine), yes)}},
		{"MLD done", sealed, []step{out(MLD(132, self, netip.MustParseAddr("ff02::2"), mine), yes)}},
		{"MLD version 2 report", sealed, []step{out(MLD(143, self, reports, mine), yes)}},
		{"MLD without an address yet", sealed, []step{out(MLD(143, none, reports, mine), yes)}},
		{"MLD behind a router alert", sealed, []step{out(MLD(143, self, reports, mine).Extend(Extension{HopByHop, 8}), yes)}},
		{"MLD query to the pod", sealed, []step{in(MLD(130, self, all, none), yes)}},
		{"MLD with hop limit 2", sealed, []step{out(MLD(143, self, reports, mine).Hops(2), "denied no-rule")}},
		{"MLD beyond the link", sealed, []step{out(MLD(143, self, wide, mine), "denied ...")}},
		{"MLD from a global address", sealed, []step{out(MLD(143, v6.at("A"), reports, mine), "denied no-rule")}},
	})
}
