// SPDX-License-Identifier: Apache-2.0

package packet

import "testing"

func TestRelated(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		sealed := func(w *world) { w.sets(setNone, setOut) }
		receives := func(w *world) { w.sets(setIn, setNone) }
		web, tls, dns, ping := f.tcp("A:1000", "C:80", "S"), f.tcp("C:1000", "A:443", "S"), f.udp("A:1000", "C:53"), f.echo("A", "O", 7)
		about := func(src, dst string, p Packet) Packet { return Unreachable(f.at(src), f.at(dst), p) }
		quote := func(src, dst string, four, six uint8, p Packet) Packet {
			return Quote(f.at(src), f.at(dst), choose(f.at(src), four, six), 0, p)
		}
		// The longest that passes: 576 bytes of IPv4, 1280 of IPv6. The outer
		// headers and the quoted one take 20+8+20+20 or 40+8+40+20.
		room := map[bool]int{true: 576 - 68, false: 1280 - 108}[f.is4()]
		return []row{
			{"to the pod, from a router", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", web), "allowed related")}},
			{"to the pod, from the peer", sealed, []step{out(web, "allowed rule new"), in(about("C", "A", web), "allowed related")}},
			{"to the pod, UDP", sealed, []step{out(dns, "allowed rule new"), in(about("C", "A", dns), "allowed related")}},
			{"to the pod, SCTP", sealed, []step{out(f.sctp("A:9", "C:3868"), "allowed rule new"), in(about("C", "A", f.sctp("A:9", "C:3868")), "allowed related")}},
			{"to the pod, echo", sealed, []step{out(ping, "allowed rule new"), in(about("X", "A", ping), "allowed related")}},
			{"to the pod, echo with another identifier", sealed, []step{out(ping, "allowed rule new"), in(about("X", "A", f.echo("A", "O", 8)), "denied no-rule")}},
			{"to the pod, about an answer of it", receives, []step{in(tls, "allowed rule new"), in(about("X", "A", f.tcp("A:443", "C:1000", "A")), "allowed related")}},
			{"to the pod, time exceeded", sealed, []step{out(web, "allowed rule new"), in(quote("X", "A", 11, 3, web), "allowed related")}},
			{"to the pod, parameter problem", sealed, []step{out(web, "allowed rule new"), in(quote("X", "A", 12, 4, web), "allowed related")}},
			{"to the pod, of a type that is no error", sealed, []step{out(web, "allowed rule new"), in(quote("X", "A", 4, 100, web), "denied no-rule")}},
			{"to the pod, no flow", sealed, []step{in(about("X", "A", web), "denied no-rule")}},
			{"to the pod, flow of another port", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", f.tcp("A:1001", "C:80", "S")), "denied no-rule")}},
			{"to the pod, about another pod's packet", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", f.tcp("B:1000", "C:80", "S")), "denied no-rule")}},
			{"to the pod, about a packet to it", receives, []step{in(tls, "allowed rule new"), in(about("X", "A", tls), "denied no-rule")}},
			{"to the pod, about a denied packet", sealed, []step{out(f.tcp("A:1000", "D:80", "S"), "denied no-rule"), in(about("X", "A", f.tcp("A:1000", "D:80", "S")), "denied no-rule")}},
			{"to the pod, about a tombstone", nil, []step{out(web, "allowed rule new"), flip(setNone, setNone, 2), out(f.tcp("A:1000", "C:80", "A"), "denied revoked revoked"), in(about("X", "A", web), "denied ...")}},
			{"to the pod, cut by the policy since", nil, []step{out(web, "allowed rule new"), flip(setNone, setNone, 2), in(about("X", "A", web), "denied ...")}},
			{"to the pod, in a new epoch that allows", sealed, []step{out(web, "allowed rule new"), epoch(2), in(about("X", "A", web), "allowed related")}},
			{"to the pod, flow expired", sealed, []step{out(ping, "allowed rule new"), idle(40), in(about("X", "A", ping), "denied no-rule")}},
			{"to the pod, as long as allowed", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", web.Pad(room)), "allowed related")}},
			{"to the pod, longer", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", web.Pad(room+1)), "denied no-rule")}},
			{"to the pod, only 8 bytes of layer 4", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", web.Short(8)), "allowed related")}},
			{"to the pod, no byte of layer 4", sealed, []step{out(web, "allowed rule new"), in(about("X", "A", web.Short(0)), "denied ...")}},
			{"to the pod, nothing quoted", sealed, []step{in(ICMP(f.at("X"), f.at("A"), choose(f.at("X"), 3, 1), 3, 0), "denied ...")}},
			{"to the pod, no flow, policy allows the sender", nil, []step{in(about("O", "A", web), "allowed ...")}},
			{"to the pod, no flow, not isolated", func(w *world) { w.sets(0, 0) }, []step{in(about("X", "A", web), "allowed not-isolated ...")}},
			{"from the pod", receives, []step{in(tls, "allowed rule new"), out(about("A", "C", tls), "allowed related")}},
			{"from the pod, about an answer to it", sealed, []step{out(dns, "allowed rule new"), out(about("A", "C", f.udp("C:53", "A:1000")), "allowed related")}},
			{"from the pod, no flow", receives, []step{out(about("A", "C", tls), "denied no-rule")}},
			{"from the pod, to somebody else", receives, []step{in(tls, "allowed rule new"), out(about("A", "D", tls), "denied no-rule")}},
			{"from the pod, about its own packet", sealed, []step{out(web, "allowed rule new"), out(about("A", "A", web), "denied ...")}},
			{"from the pod, spoofed", receives, []step{in(tls, "allowed rule new"), out(about("B", "C", tls), "denied spoofed")}},
			{"leaves no flow and keeps the one it is about", sealed, []step{out(ping, "allowed rule new"), in(about("X", "A", ping), "allowed related"), then(func(w *world) {
				if flows, err := w.m.Flows(); err != nil || len(flows) != 1 {
					w.t.Errorf("entries %v, %v: want one", flows, err)
				}
			}), in(f.reply("O", "A", 7), "allowed reply")}},
		}
	})
}

// What the families do not share.
func TestRelatedByFamily(t *testing.T) {
	m := machine(t, nil)
	sealed := func(w *world) { w.sets(setNone, setOut) }
	v4, v6 := four(), six()
	web4, web6 := v4.tcp("A:1000", "C:80", "S"), v6.tcp("A:1000", "C:80", "S")
	list(t, m, v4, []row{
		{"fragmentation needed", sealed, []step{out(web4, "allowed rule new"), in(Quote(v4.at("X"), v4.at("A"), 3, 4, web4), "allowed related")}},
		{"a quoted packet with options", sealed, []step{out(web4, "allowed rule new"), in(Quote(v4.at("X"), v4.at("A"), 3, 4, web4.Options(10)), "allowed related")}},
		{"redirect, isolated", sealed, []step{out(web4, "allowed rule new"), in(Quote(v4.at("X"), v4.at("A"), 5, 1, web4), "denied no-rule")}},
		{"redirect from the pod", nil, []step{in(v4.tcp("C:1000", "A:443", "S"), "allowed rule new"), out(Quote(v4.at("A"), v4.at("C"), 5, 1, v4.tcp("C:1000", "A:443", "S")), "denied no-rule")}},
		{"source quench", sealed, []step{out(web4, "allowed rule new"), in(Quote(v4.at("X"), v4.at("A"), 4, 0, web4), "denied no-rule")}},
		{"a quoted fragment that is not the first", sealed, []step{out(web4, "allowed rule new"), in(Unreachable(v4.at("X"), v4.at("A"), web4.Pad(80).Fragment(7, 48, 100)), "denied ...")}},
	})
	list(t, m, v6, []row{
		{"packet too big", sealed, []step{out(web6, "allowed rule new"), in(Quote(v6.at("X"), v6.at("A"), 2, 0, web6), "allowed related")}},
	})
}
