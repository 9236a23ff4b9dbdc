// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestTags(t *testing.T) {
	sealed := func(w *world) { w.sets(setNone, setNone) }
	open := func(w *world) { w.sets(0, 0) }
	audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
	table(t, machine(t, nil), func(f family) []row {
		syn, back := f.tcp("A:1000", "C:80", "S"), f.tcp("C:80", "A:1000", "SA")
		return []row{
			{"one", nil, []step{out(syn.Tag(5), "allowed rule new"), in(back.Tag(5), "allowed reply")}},
			{"one of a provider", nil, []step{out(syn.ServiceTag(5), "allowed rule new")}},
			{"two", nil, []step{out(syn.ServiceTag(5).Tag(6), "allowed rule new"), in(back.Tag(5).Tag(6), "allowed reply")}},
			{"seen through", sealed, []step{out(syn.Tag(5), "denied no-rule"), in(back.Tag(5).Tag(6), "denied no-rule")}},
			{"one flow, tagged or not", nil, []step{out(syn.Tag(5), "allowed rule new"), in(back, "allowed reply")}},
			{"three, isolated", nil, []step{out(syn.Tag(5).Tag(6).Tag(7), "denied unsupported"), in(back.Tag(5).Tag(6).Tag(7), "denied unsupported")}},
			{"three, not isolated", open, []step{out(syn.Tag(5).Tag(6).Tag(7), "allowed not-isolated ...")}},
			{"three, audited", audit, []step{out(syn.Tag(5).Tag(6).Tag(7), "audited unsupported ...")}},
			{"spoofed behind a tag", open, []step{out(syn.From(f.at("B")).Tag(5), "denied spoofed")}},
		}
	})
}

func TestEtherTypes(t *testing.T) {
	open := func(w *world) { w.sets(0, 0) }
	audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
	notReady := func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }
	oneWay := func(w *world) { w.sets(setIn, 0) }
	type kind struct {
		name  string
		value uint16
	}
	m := machine(t, nil)
	for _, k := range []kind{{"MPLS", 0x8847}, {"PPPoE", 0x8864}, {"PROFINET", 0x8892}, {"experimental", 0x88b5}, {"length", 40}, {"macsec", 0x88e5}} {
		e := Ether(k.value, make([]byte, 50)...)
		told := func(w *world, r Result) {
			if got, one := r.Event(); one && got.Ethertype != Port(k.value) {
				w.t.Errorf("event of EtherType %#x, want %#x", Port(got.Ethertype), k.value)
			}
		}
		t.Run(k.name, func(t *testing.T) {
			list(t, m, four(), []row{
				{"isolated", nil, []step{out(e, "denied unsupported").also(told), in(e, "denied unsupported").also(told)}},
				{"not isolated", open, []step{out(e, "allowed not-isolated ..."), in(e, "allowed not-isolated ...")}},
				{"isolated one way", oneWay, []step{out(e, "allowed not-isolated ..."), in(e, "denied unsupported")}},
				{"audited", audit, []step{out(e, "audited unsupported ..."), in(e, "audited unsupported ...")}},
				{"not ready", notReady, []step{out(e, "denied *"), in(e, "denied *")}},
				{"no body", nil, []step{out(Ether(k.value), "denied unsupported")}},
			})
		})
	}
}

func TestIPv4Header(t *testing.T) {
	f := four()
	open := func(w *world) { w.sets(0, 0) }
	syn := f.tcp("A:1000", "C:80", "S")
	mapped := syn.Options(10)
	const bad = "denied malformed"
	list(t, machine(t, nil), f, []row{
		{"options, 4 bytes", nil, []step{out(syn.Options(1), "allowed rule new")}},
		{"options, 40 bytes", nil, []step{out(mapped, "allowed rule new"), out(f.tcp("A:1000", "C:81", "S").Options(10), "denied no-rule")}},
		{"one flow with and without options", nil, []step{out(syn.Options(3), "allowed rule new"), in(f.tcp("C:80", "A:1000", "SA").Options(5), "allowed reply")}},
		{"version 5", nil, []step{out(syn.Set(14, 0x55), bad), in(syn.Set(14, 0x55), bad)}},
		{"version 6 in IPv4", nil, []step{out(syn.Set(14, 0x65), bad)}},
		{"header length 4", nil, []step{out(syn.Set(14, 0x44), bad)}},
		{"header length 0", nil, []step{out(syn.Set(14, 0x40), bad)}},
		{"header length beyond the packet", nil, []step{out(f.udp("A:1", "C:53").Set(14, 0x4f), bad)}},
		{"total length beyond the frame", nil, []step{out(syn.Set(16, 0, 41), bad), out(syn.Set(16, 0xff, 0xff), bad)}},
		{"total length below the header", nil, []step{out(syn.Set(16, 0, 19), bad), out(syn.Set(16, 0, 0), bad)}},
		{"total length below the header, no ports", nil, []step{out(f.other("A", "O", 50), "allowed rule new"), out(f.other("A", "O", 50).Set(16, 0, 19), bad)}},
		{"total length beyond the frame, of a known flow", nil, []step{out(f.udp("A:1", "C:53"), "allowed rule new"), out(f.udp("A:1", "C:53").Set(16, 0xff, 0xff), bad)}},
		{"total length without layer 4", nil, []step{out(syn.Set(16, 0, 20), "denied *")}},
		{"malformed, not isolated", open, []step{out(syn.Set(14, 0x55), bad), in(syn.Set(16, 0xff, 0xff), bad)}},
		{"malformed, audited", func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }, []step{out(syn.Set(14, 0x55), bad)}},
		{"a padded frame", nil, []step{out(syn.Trail(6), "allowed rule new")}},
		{"port number in the padding", nil, []step{out(syn.Short(0).Trail(40), "denied *")}},
		{"don't fragment", nil, []step{out(syn.Set(20, 0x40), "allowed rule new")}},
	})
}

func TestIPv6Header(t *testing.T) {
	f := six()
	open := func(w *world) { w.sets(0, 0) }
	syn, no := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:81", "S")
	ext := func(p Packet, headers ...Extension) Packet { return p.Extend(headers...) }
	hop, routing, dst, auth := Extension{HopByHop, 8}, Extension{Routing, 24}, Extension{Destinations, 16}, Extension{Auth, 24}
	many := func(n int) []Extension { return slices.Repeat([]Extension{{Destinations, 8}}, n) }
	const bad = "denied malformed"
	rows := []row{
		{"version 4 in IPv6", nil, []step{out(syn.Set(14, 0x40), bad)}},
		{"payload length beyond the frame", nil, []step{out(syn.Set(18, 0, 21), bad), out(syn.Set(18, 0xff, 0xff), bad)}},
		{"payload length 0", nil, []step{out(syn.Set(18, 0, 0), "denied *")}},
		{"payload length 0, not isolated", open, []step{out(syn.Set(18, 0, 0), "denied *")}},
		{"a padded frame", nil, []step{out(syn.Trail(9), "allowed rule new")}},
		{"a long header that ends beyond the packet", nil, []step{out(ext(syn, dst).Set(14+40+1, 200), bad)}},
		{"too many headers", nil, []step{out(ext(syn, many(20)...), bad), in(ext(f.tcp("C:1", "A:443", "S"), many(20)...), bad)}},
		{"too many headers, not isolated", open, []step{out(ext(syn, many(20)...), bad)}},
		{"no next header", nil, []step{out(Other(f.at("A"), f.at("C"), 59), "denied no-rule")}},
		{"an unknown header is a protocol", nil, []step{out(f.other("A", "C", 253), "denied no-rule"), out(f.other("A", "O", 253), "allowed rule new")}},
		{"IPv4-mapped source", open, []step{out(syn.From(mapped4("10.1.0.1")), bad), in(syn.From(mapped4("10.2.0.3")), bad)}},
		{"IPv4-mapped destination", open, []step{out(syn.To(mapped4("10.2.0.3")), bad), in(syn.To(mapped4("10.1.0.1")), bad)}},
		{"IPv4-mapped, of an IPv4 flow", nil, []step{out(four().udp("A:1000", "C:53"), "allowed rule new"), out(f.udp("A:1000", "C:53").From(mapped4("10.1.0.1")).To(mapped4("10.2.0.3")), bad),
			in(f.udp("C:53", "A:1000").From(mapped4("10.2.0.3")).To(mapped4("10.1.0.1")), bad)}},
		{"payload length beyond the frame, of a known flow", nil, []step{out(f.udp("A:1", "C:53"), "allowed rule new"), out(f.udp("A:1", "C:53").Set(18, 0xff, 0xff), bad)}},
		{"a header behind the end, no ports", nil, []step{out(f.other("A", "O", 50).Extend(dst).Set(18, 0, 4), bad), out(f.other("A", "O", 50).Extend(dst), "allowed rule new")}},
	}
	for name, headers := range map[string][]Extension{
		"hop-by-hop": {hop}, "routing": {routing}, "destinations": {dst}, "auth": {auth}, "long": {{Destinations, 264}},
		"four kinds": {hop, dst, routing, auth}, "seven": many(7),
	} {
		rows = append(rows, row{"headers: " + name, nil, []step{
			out(ext(no, headers...), "denied no-rule"), out(ext(syn, headers...), "allowed rule new"), in(ext(f.tcp("C:80", "A:1000", "SA"), headers...), "allowed reply"),
		}})
	}
	list(t, machine(t, nil), f, rows)
}

func mapped4(a string) netip.Addr { return netip.AddrFrom16(netip.MustParseAddr(a).As16()) }

// What an event says of a packet, field by field.
func TestEventFields(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		field := func(check func(*world, bpf.WeirEvent) bool, want string) func(*world, Result) {
			return func(w *world, r Result) {
				w.t.Helper()
				if e, one := r.Event(); !one || !check(w, e) {
					w.t.Errorf("event (one: %v) %+v: want %s", one, e, want)
				}
			}
		}
		ends := func(w *world, e bpf.WeirEvent, l, r string, protocol uint8) bool {
			key := w.key(protocol, l, r)
			return e.Local == key.Local && e.Remote == key.Remote && e.LocalPort == key.LocalPort && e.RemotePort == key.RemotePort && e.Protocol == protocol
		}
		icmp := choose(f.at("A"), protocolICMP, protocolICMPv6)
		syn, refused := f.tcp("A:1000", "C:80", "S"), f.tcp("C:9", "A:444", "S")
		return []row{
			{"ends, from the pod", nil, []step{out(syn, "allowed rule new").also(field(func(w *world, e bpf.WeirEvent) bool { return ends(w, e, "A:1000", "C:80", protocolTCP) }, "the packet's ends"))}},
			{"ends, to the pod", nil, []step{in(refused, "denied no-rule").also(field(func(w *world, e bpf.WeirEvent) bool { return ends(w, e, "A:444", "C:9", protocolTCP) }, "the packet's ends"))}},
			{"allowed", nil, []step{out(syn, "allowed rule new").also(field(func(w *world, e bpf.WeirEvent) bool {
				return e.Set == setOut && e.Rule == ruleWeb && e.Class == classC && e.Initiator == local && e.Direction == uint8(egress) && e.TcpFlags == flagSYN && e.Repeats == 0
			}, "set, rule, class, initiator, direction, flags"))}},
			{"denied", nil, []step{in(f.tcp("C:10", "A:444", "S"), "denied no-rule").also(field(func(w *world, e bpf.WeirEvent) bool {
				return e.Set == setIn && e.Rule == 0 && e.Class == classC && e.Initiator == remote && e.Direction == uint8(ingress) && e.TcpFlags == flagSYN && e.Kind == uint8(bpf.WeirEventKindEVENT_NEW)
			}, "set, class, initiator, direction, flags"))}},
			{"class of a block", nil, []step{out(f.udp("A:1", "O:9"), "allowed rule new").also(field(func(w *world, e bpf.WeirEvent) bool { return e.Class == classO && e.Rule == ruleOut && e.TcpFlags == 0 }, "class and rule of the block"))}},
			{"class of an unknown peer", nil, []step{out(f.udp("A:1", "X:9"), "denied no-rule").also(field(func(w *world, e bpf.WeirEvent) bool { return e.Class == 0 && e.Set == setOut }, "class 0"))}},
			{"not isolated", func(w *world) { w.sets(0, 0) }, []step{out(syn, "allowed not-isolated new").also(field(func(w *world, e bpf.WeirEvent) bool { return e.Set == 0 && e.Rule == 0 }, "no set, no rule"))}},
			{"ICMP", nil, []step{out(ICMP(f.at("A"), f.at("C"), choose(f.at("A"), 8, 128), 3, 7<<16), "denied no-rule").also(field(func(w *world, e bpf.WeirEvent) bool {
				return e.IcmpType == choose(f.at("A"), 8, 128) && e.IcmpCode == 3 && e.Protocol == icmp
			}, "type and code"))}},
			{"EtherType", nil, []step{out(syn, "allowed rule new").also(field(func(w *world, e bpf.WeirEvent) bool {
				return e.Ethertype == Port(map[bool]uint16{true: 0x0800, false: 0x86dd}[f.is4()])
			}, "the EtherType"))}},
			{"service", nil, []step{out(syn, "allowed rule new").also(field(func(w *world, e bpf.WeirEvent) bool { return e.ServicePort == 0 && e.Service == [16]uint8{} }, "no service"))}},
			{"the first denial of a tuple is told, its repeats are not", nil, []step{out(f.tcp("A:1", "D:7", "S"), "denied no-rule").also(field(func(w *world, e bpf.WeirEvent) bool { return e.Repeats == 0 }, "one")),
				out(f.tcp("A:1", "D:7", "S"), "denied no-rule").also(func(w *world, r Result) {
					w.t.Helper()
					if n := len(r.Events[0]) + len(r.Events[1]); n != 0 {
						w.t.Errorf("%d events of a repeat within a second", n)
					}
				})}},
			{"denials of two tuples are told", nil, []step{out(f.tcp("A:1", "D:1", "S"), "denied no-rule").also(field(func(*world, bpf.WeirEvent) bool { return true }, "one")),
				in(f.udp("X:1", "A:2"), "denied no-rule").also(field(func(*world, bpf.WeirEvent) bool { return true }, "one"))}},
			{"spoofed", nil, []step{out(syn.From(f.at("X")), "denied spoofed").also(field(func(w *world, e bpf.WeirEvent) bool {
				return ends(w, e, "X:1000", "C:80", protocolTCP) && e.Reason == uint8(bpf.WeirReasonREASON_SPOOFED)
			}, "the forged source"))}},
		}
	})
}
