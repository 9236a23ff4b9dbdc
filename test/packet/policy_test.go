// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestPolicy(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		return []row{
			{"egress by rule", nil, []step{out(f.tcp("A:1000", "C:80", "S"), "allowed rule new")}},
			{"egress, no rule for the port", nil, []step{out(f.tcp("A:1000", "C:81", "S"), "denied no-rule")}},
			{"egress, no rule for the protocol", nil, []step{out(f.udp("A:1000", "C:80"), "denied no-rule")}},
			{"egress, SCTP by its own rule", nil, []step{out(f.sctp("A:1000", "C:3868"), "allowed rule new")}},
			{"egress, SCTP is not TCP", nil, []step{out(f.sctp("A:1000", "C:80"), "denied no-rule")}},
			{"egress, no rule for the peer", nil, []step{out(f.tcp("A:1000", "D:80", "S"), "denied no-rule")}},
			{"egress, unknown peer", nil, []step{out(f.tcp("A:1000", "X:80", "S"), "denied no-rule")}},
			{"egress, range below", nil, []step{out(f.tcp("A:1000", "C:7999", "S"), "denied no-rule")}},
			{"egress, range begins", nil, []step{out(f.tcp("A:1000", "C:8000", "S"), "allowed rule new")}},
			{"egress, range ends", nil, []step{out(f.tcp("A:1000", "C:8999", "S"), "allowed rule new")}},
			{"egress, range above", nil, []step{out(f.tcp("A:1000", "C:9000", "S"), "denied no-rule")}},
			{"egress, source port does not count", nil, []step{out(f.tcp("A:80", "C:1000", "S"), "denied no-rule")}},
			{"egress, block, every protocol: TCP", nil, []step{out(f.tcp("A:1000", "O:9", "S"), "allowed rule new")}},
			{"egress, block, every protocol: port 0", nil, []step{out(f.udp("A:1000", "O:0"), "allowed rule new")}},
			{"egress, block, every protocol: echo", nil, []step{out(f.echo("A", "O", 7), "allowed rule new")}},
			{"egress, block, every protocol: ESP", nil, []step{out(f.other("A", "O", 50), "allowed rule new")}},
			{"egress, ports in the rule: echo", nil, []step{out(f.echo("A", "C", 7), "denied no-rule")}},
			{"egress, ports in the rule: ESP", nil, []step{out(f.other("A", "C", 50), "denied no-rule")}},
			{"ingress by rule", nil, []step{in(f.tcp("C:1000", "A:443", "S"), "allowed rule new")}},
			{"ingress, no rule for the port", nil, []step{in(f.tcp("C:1000", "A:444", "S"), "denied no-rule")}},
			{"ingress, source port does not count", nil, []step{in(f.tcp("C:443", "A:1000", "S"), "denied no-rule")}},
			{"ingress, the egress rule does not count", nil, []step{in(f.tcp("C:1000", "A:80", "S"), "denied no-rule")}},
			{"ingress, unknown peer", nil, []step{in(f.tcp("X:1000", "A:443", "S"), "denied no-rule")}},
			{"ingress, block: echo", nil, []step{in(f.echo("O", "A", 7), "allowed rule new")}},
			{"an exact address hides the block around it", func(w *world) { w.must(w.m.PutPeer(f.at("O"), classD, 0)) }, []step{out(f.tcp("A:1000", "O:9", "S"), "denied no-rule")}},
			{"not isolated", func(w *world) { w.sets(0, 0) }, []step{out(f.tcp("A:1000", "X:80", "S"), "allowed not-isolated new"), in(f.udp("X:9", "A:7"), "allowed not-isolated new")}},
			{"isolated for ingress alone", func(w *world) { w.sets(setIn, 0) }, []step{out(f.tcp("A:1000", "X:80", "S"), "allowed not-isolated new"), in(f.udp("X:9", "A:7"), "denied no-rule")}},
			{"isolated for egress alone", func(w *world) { w.sets(0, setOut) }, []step{out(f.tcp("A:1000", "X:80", "S"), "denied no-rule"), in(f.udp("X:9", "A:7"), "allowed not-isolated new")}},
			{"a set without rows denies", func(w *world) { w.sets(setNone, setNone) }, []step{out(f.tcp("A:1000", "C:80", "S"), "denied no-rule"), in(f.tcp("C:1000", "A:443", "S"), "denied no-rule")}},
			{"an endpoint that nobody announced", func(w *world) { w.must(w.m.RemoveEndpoint(w.m.Link(linkA))) }, []step{out(f.tcp("A:1000", "C:80", "S"), "denied not-ready"), in(f.tcp("C:1000", "A:443", "S"), "denied not-ready")}},
			{"another pod's sets are its own", nil, []step{out(f.tcp("B:1000", "X:81", "S"), "allowed not-isolated new").at(linkB)}},
		}
	})
}

// Rows are searched by class and protocol, class, then the rows of class 0
// where the endpoint says that there are such; the first row found decides.
func TestRowOrder(t *testing.T) {
	outAny := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) { e.Flags = uint8(bpf.WeirEndpointFlagEP_EGRESS_ANY) })
	}
	inAny := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) { e.Flags = uint8(bpf.WeirEndpointFlagEP_INGRESS_ANY) })
	}
	table(t, machine(t, nil), func(f family) []row {
		anyTCP := func(w *world) { outAny(w); w.row(setOut, 0, protocolTCP, allow(9000, 9000, 401)) }
		anyAll := func(w *world) { outAny(w); w.row(setOut, 0, 0, allow(0, whole, 402)) }
		both := func(w *world) { anyTCP(w); anyAll(w) }
		rule := func(id uint32) func(*world, Result) {
			return func(w *world, r Result) {
				w.t.Helper()
				if e, one := r.Event(); !one || e.Rule != id {
					w.t.Errorf("rule %d (one event: %v), want %d", e.Rule, one, id)
				}
			}
		}
		return []row{
			{"class and protocol before class", func(w *world) { w.row(setOut, classC, 0, allow(0, whole, 400)) }, []step{
				out(f.tcp("A:1000", "C:80", "S"), "allowed rule new").also(rule(ruleWeb)),
				out(f.tcp("A:1000", "C:81", "S"), "denied no-rule"),
				out(f.echo("A", "C", 1), "allowed rule new").also(rule(400)),
			}},
			{"any peer, protocol: known class without rows", anyTCP, []step{out(f.tcp("A:1000", "D:9000", "S"), "allowed rule new").also(rule(401))}},
			{"any peer, protocol: unknown peer", anyTCP, []step{out(f.tcp("A:1000", "X:9000", "S"), "allowed rule new").also(rule(401))}},
			{"any peer, protocol: another port", anyTCP, []step{out(f.tcp("A:1000", "X:9001", "S"), "denied no-rule")}},
			{"any peer, protocol: another protocol", anyTCP, []step{out(f.udp("A:1000", "X:9000"), "denied no-rule")}},
			{"any peer, protocol: a class with rows of its own", anyTCP, []step{out(f.tcp("A:1000", "C:9000", "S"), "denied no-rule")}},
			{"any peer, all: unknown peer", anyAll, []step{out(f.udp("A:1000", "X:9"), "allowed rule new").also(rule(402))}},
			{"any peer, all: port 0", anyAll, []step{out(f.udp("A:1000", "X:0"), "allowed rule new")}},
			{"any peer, all: class without rows of the protocol", anyAll, []step{out(f.echo("A", "C", 9), "allowed rule new").also(rule(402))}},
			{"any peer: protocol before all", both, []step{out(f.tcp("A:1000", "X:9000", "S"), "allowed rule new").also(rule(401)), out(f.tcp("A:1000", "X:1", "S"), "denied no-rule")}},
			{"rows of class 0 without the flag: another class", func(w *world) { anyAll(w); w.sets(setIn, setOut) }, []step{out(f.tcp("A:1000", "D:9", "S"), "denied no-rule")}},
			{"the flag of the other direction", func(w *world) { anyAll(w); inAny(w) }, []step{out(f.tcp("A:1000", "D:9", "S"), "denied no-rule")}},
			{"ingress, any peer", func(w *world) { inAny(w); w.row(setIn, 0, protocolTCP, allow(22, 22, 403)) }, []step{in(f.tcp("X:9", "A:22", "S"), "allowed rule new").also(rule(403)), in(f.tcp("X:9", "A:23", "S"), "denied no-rule")}},
			{"a rule that denies", func(w *world) { w.row(setOut, classD, protocolTCP, refuse(80, 80, 404), allow(81, 81, 405)) }, []step{
				out(f.tcp("A:1000", "D:80", "S"), "denied deny-rule").also(rule(404)), out(f.tcp("A:1000", "D:81", "S"), "allowed rule new"),
			}},
			{"a recycled element is absent", func(w *world) {
				w.must(w.m.PutRowAt(bpf.WeirRowKey{Set: setOut, Class: classD, Protocol: protocolTCP}, wide(setOut, classC, protocolTCP)))
			}, []step{out(f.tcp("A:1000", "D:80", "S"), "denied no-rule")}},
			{"a recycled element does not end the search", func(w *world) {
				w.must(w.m.PutRowAt(bpf.WeirRowKey{Set: setOut, Class: classD, Protocol: protocolTCP}, wide(setNewer, classD, protocolTCP)))
				w.row(setOut, classD, 0, allow(0, whole, 406))
			}, []step{out(f.tcp("A:1000", "D:80", "S"), "allowed rule new").also(rule(406))}},
		}
	})
}

// wide is a row that allows every port.
func wide(set, class uint32, protocol uint8) bpf.WeirRow {
	row := bpf.WeirRow{Key: bpf.WeirRowKey{Set: set, Class: class, Protocol: protocol}, Count: 1}
	row.Intervals[0].Hi, row.Intervals[0].Rule, row.Intervals[0].Action = whole, 499, uint8(bpf.WeirActionACTION_ALLOW)
	return row
}

func TestPortBounds(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		numbered := func(w *world) { w.row(setOut, classD, protocolTCP, allow(1, whole, 501)) }
		open := func(w *world) { w.row(setOut, classD, protocolTCP, allow(0, whole, 502)) }
		edges := func(w *world) { w.row(setOut, classD, protocolTCP, allow(1, 1, 503), allow(whole, whole, 504)) }
		return []row{
			{"port 0 and a numbered range", numbered, []step{out(f.tcp("A:9", "D:0", "S"), "denied no-rule")}},
			{"port 0 and a rule without number", open, []step{out(f.tcp("A:9", "D:0", "S"), "allowed rule new")}},
			{"port 1", edges, []step{out(f.tcp("A:9", "D:1", "S"), "allowed rule new"), out(f.tcp("A:9", "D:2", "S"), "denied no-rule")}},
			{"port 65535", edges, []step{out(f.tcp("A:9", "D:65535", "S"), "allowed rule new"), out(f.tcp("A:9", "D:65534", "S"), "denied no-rule")}},
		}
	})
}

// A row of every even port from 2 fills all its pages; the odd ports between
// are denied.
func TestPages(t *testing.T) {
	m := machine(t, nil)
	for _, count := range []int{1, 13, 14, 15, 28, 29, 200, int(bpf.WeirRowLimitROW_INTERVALS * bpf.WeirRowLimitROW_PAGES)} {
		w := newWorld(t, m, four())
		var intervals []interval
		for n := range count {
			port := uint16(2 * (n + 1))
			intervals = append(intervals, allow(port, port, uint32(1000+n)))
		}
		w.row(setOut, classD, protocolUDP, intervals...)
		numbers := []int{0, 6, 12, 13, 14, 15, 27, 28, count / 2, count - 2, count - 1}
		slices.Sort(numbers)
		for _, n := range slices.Compact(numbers) {
			if n < 0 || n >= count {
				continue
			}
			yes := w.run(out(UDP(w.port("A:9"), netip.AddrPortFrom(w.at("D"), uint16(2*n+2))), ""))
			if e, one := yes.Event(); yes.String() != "allowed rule new" || !one || e.Rule != uint32(1000+n) {
				t.Errorf("%d intervals, number %d: %v by rule %d", count, n, yes, e.Rule)
			}
			if no := w.run(out(UDP(w.port("A:9"), netip.AddrPortFrom(w.at("D"), uint16(2*n+3))), "")); no.String() != "denied no-rule" {
				t.Errorf("%d intervals, behind number %d: %v", count, n, no)
			}
		}
	}
}

// The prefix tree: longest match, and the two prefixes that are always there.
func TestPrefixes(t *testing.T) {
	m := machine(t, nil)
	everything := func(prefix string) func(*world) {
		return func(w *world) {
			w.must(w.m.PutPrefix(netip.MustParsePrefix(prefix), 71))
			w.row(setOut, 71, 0, allow(0, whole, 701))
			w.row(setOut, 72, protocolTCP, allow(22, 22, 702))
		}
	}
	inner := func(w *world) {
		everything("10.20.0.0/16")(w)
		w.must(w.m.PutPrefix(netip.MustParsePrefix("10.20.30.0/24"), 72))
		w.must(w.m.PutPrefix(netip.MustParsePrefix("10.20.30.40/32"), 71))
	}
	v4, v6 := four(), six()
	linkLocal := func(w *world) {
		w.must(w.m.PutPrefix(netip.MustParsePrefix("fe80::/16"), 71))
		w.row(setOut, 71, 0, allow(0, whole, 701))
	}
	list(t, m, v4, []row{
		{"IPv6 /0 does not cover IPv4", everything("::/0"), []step{out(v4.udp("A:9", "X:9"), "denied no-rule")}},
		{"IPv4 /0", everything("0.0.0.0/0"), []step{out(v4.udp("A:9", "X:9"), "allowed rule new")}},
		{"inside the outer block", inner, []step{out(v4.udp("A:9", "10.20.31.1:9"), "allowed rule new")}},
		{"inside the inner block", inner, []step{out(v4.udp("A:9", "10.20.30.1:9"), "denied no-rule"), out(v4.tcp("A:9", "10.20.30.1:22", "S"), "allowed rule new")}},
		{"the exact address in it", inner, []step{out(v4.udp("A:9", "10.20.30.40:9"), "allowed rule new")}},
		{"outside", inner, []step{out(v4.udp("A:9", "10.21.0.1:9"), "denied no-rule")}},
	})
	list(t, m, v6, []row{
		{"IPv4 /0 does not cover IPv6", everything("0.0.0.0/0"), []step{out(v6.udp("A:9", "X:9"), "denied no-rule")}},
		{"IPv6 /0", everything("::/0"), []step{out(v6.udp("A:9", "X:9"), "allowed rule new")}},
		{"IPv6 /0 does not cover link-local", everything("::/0"), []step{out(UDP(v6.port("A:9"), netip.MustParseAddrPort("[fe80::9]:9")), "denied no-rule")}},
		{"a block inside link-local does", linkLocal, []step{out(UDP(v6.port("A:9"), netip.MustParseAddrPort("[fe80::9]:9")), "allowed rule new")}},
	})
}
