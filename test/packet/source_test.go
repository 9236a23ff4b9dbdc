// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestSource(t *testing.T) {
	open := func(w *world) { w.sets(0, 0) }
	audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
	forwards := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) {
			e.SetEgress, e.Flags = 0, uint8(bpf.WeirEndpointFlagEP_FORWARDS)
		})
	}
	m := machine(t, nil)
	table(t, m, func(f family) []row {
		syn := f.tcp("A:1000", "C:80", "S")
		return []row{
			{"own", nil, []step{out(syn, "allowed rule new")}},
			{"another pod's", nil, []step{out(syn.From(f.at("B")), "denied spoofed")}},
			{"another pod's, not isolated", open, []step{out(syn.From(f.at("B")), "denied spoofed")}},
			{"another pod's, audited", audit, []step{out(syn.From(f.at("B")), "denied spoofed")}},
			{"the node's", open, []step{out(syn.From(f.at("N")), "denied spoofed")}},
			{"nobody's", open, []step{out(syn.From(f.at("X")), "denied spoofed")}},
			{"after the same ends of a good flow", open, []step{out(syn, "allowed not-isolated new"), out(syn.From(f.at("X")), "denied spoofed"), none(protocolTCP, "X:1000", "C:80")}},
			{"nobody's, by a pod that forwards", forwards, []step{out(syn.From(f.at("X")), "allowed not-isolated new")}},
			{"own, moved to another link", func(w *world) { w.sets(0, 0); w.must(w.m.PutLocal(f.at("A"), w.m.Link(linkB))) }, []step{out(syn, "denied spoofed")}},
			{"to the pod no source is checked", open, []step{in(f.tcp("B:1", "A:1", "S"), "allowed not-isolated new").via(linkUp)}},
			{"loopback as source", open, []step{out(syn.From(loopback(f)), "denied loopback"), in(f.tcp("C:1", "A:1", "S").From(loopback(f)), "denied loopback")}},
			{"loopback as destination", open, []step{out(syn.To(loopback(f)), "denied loopback"), in(f.tcp("C:1", "A:1", "S").To(loopback(f)), "denied loopback")}},
			{"loopback, audited", audit, []step{out(syn.To(loopback(f)), "denied loopback")}},
			{"loopback, from the node", open, []step{in(f.tcp("N:1", "A:1", "S").From(loopback(f)), "denied loopback").via(fromNode)}},
		}
	})
	t.Run("switched off", func(t *testing.T) {
		table(t, machine(t, func(o *Options) { o.SourceCheck = false }), func(f family) []row {
			return []row{{"nobody's", open, []step{out(f.tcp("A:1000", "C:80", "S").From(f.at("X")), "allowed not-isolated new")}}}
		})
	})
	t.Run("special", func(t *testing.T) { testSpecialSources(t, m) })
}

func loopback(f family) netip.Addr {
	if f.is4() {
		return netip.MustParseAddr("127.9.9.9")
	}
	return netip.IPv6Loopback()
}

func testSpecialSources(t *testing.T, m *Machine) {
	v4, v6 := four(), six()
	open := func(w *world) { w.sets(0, 0) }
	link := netip.MustParseAddr("fe80::aa")
	udp := func(dst string) Packet {
		return UDP(netip.AddrPortFrom(link, 5353), netip.AddrPortFrom(netip.MustParseAddr(dst), 5353))
	}
	list(t, m, v6, []row{
		{"link-local to link-local", open, []step{out(udp("fe80::bb"), "allowed not-isolated new")}},
		{"link-local to a group of the link", open, []step{out(udp("ff02::fb"), "allowed not-isolated new")}},
		{"link-local to a group of the site", open, []step{out(udp("ff05::fb"), "denied spoofed")}},
		{"link-local to the world", open, []step{out(udp("2001:db8::9"), "denied spoofed")}},
		{"link-local to link-local, isolated", nil, []step{out(udp("fe80::bb"), "denied no-rule")}},
		{"unspecified", open, []step{out(v6.udp("A:1", "C:53").From(netip.IPv6Unspecified()), "denied spoofed")}},
		{"unspecified echo to the link", open, []step{out(ICMP(netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1"), 128, 0, 0), "denied spoofed")}},
	})
	list(t, m, v4, []row{
		{"0.0.0.0", open, []step{out(v4.udp("A:1", "C:53").From(netip.IPv4Unspecified()), "denied spoofed")}},
		{"0.0.0.0 to broadcast, another port", open, []step{out(v4.udp("A:69", "255.255.255.255:67").From(netip.IPv4Unspecified()), "denied spoofed")}},
		{"0.0.0.0, DHCP to a server", open, []step{out(v4.udp("A:68", "C:67").From(netip.IPv4Unspecified()), "denied spoofed")}},
		{"DHCP from a forged address", open, []step{out(v4.udp("X:68", "255.255.255.255:67"), "denied spoofed")}},
		{"169.254/16 is nobody's", open, []step{out(v4.udp("A:1", "C:53").From(netip.MustParseAddr("169.254.1.1")), "denied spoofed")}},
		{"broadcast", open, []step{out(v4.udp("A:1", "C:53").From(netip.MustParseAddr("255.255.255.255")), "denied spoofed")}},
	})
}

func TestOverlay(t *testing.T) {
	tunnels := func(more func(*world)) func(*world) {
		return func(w *world) {
			w.must(w.m.PutTunnel(4789))
			if more != nil {
				more(w)
			}
		}
	}
	open := func(w *world) { w.sets(0, 0) }
	forwards := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) {
			e.SetEgress, e.Flags = 0, uint8(bpf.WeirEndpointFlagEP_FORWARDS)
		})
	}
	m := machine(t, nil)
	table(t, m, func(f family) []row {
		vxlan := f.udp("A:1000", "N:4789").Pad(60)
		group := map[bool]string{true: "239.1.1.1", false: "ff05::1"}[f.is4()]
		rows := []row{
			{"to the node", tunnels(open), []step{out(vxlan, "denied overlay")}},
			{"to the node, isolated", tunnels(nil), []step{out(vxlan, "denied overlay")}},
			{"to the node, audited", tunnels(func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }), []step{out(vxlan, "denied overlay")}},
			{"to the node, another port", tunnels(open), []step{out(f.udp("A:1000", "N:4790"), "allowed not-isolated new")}},
			{"to the node, the same port of TCP", tunnels(open), []step{out(f.tcp("A:1000", "N:4789", "S"), "allowed not-isolated new")}},
			{"to a peer", tunnels(open), []step{out(f.udp("A:1000", "C:4789"), "allowed not-isolated new")}},
			{"from the tunnel port is not to it", tunnels(open), []step{out(f.udp("A:4789", "N:9"), "allowed not-isolated new")}},
			{"to a group", tunnels(open), []step{out(UDP(f.port("A:1"), netip.AddrPortFrom(netip.MustParseAddr(group), 4789)), "denied overlay")}},
			{"to a group, another port", tunnels(open), []step{out(UDP(f.port("A:1"), netip.AddrPortFrom(netip.MustParseAddr(group), 5353)), "allowed not-isolated new")}},
			{"by a pod that forwards", tunnels(forwards), []step{out(vxlan, "allowed not-isolated new")}},
			{"in fragments", tunnels(open), []step{out(vxlan.Fragment(7, 0, 48), "denied overlay"), out(vxlan.Fragment(7, 48, 72), "denied overlay")}},
			{"in fragments, header split off", tunnels(open), []step{out(vxlan.Fragment(7, 0, 8), "denied overlay"), out(vxlan.Fragment(7, 8, 72), "denied overlay")}},
			{"to the pod nothing is checked", tunnels(open), []step{in(f.udp("C:1", "A:4789"), "allowed not-isolated new")}},
		}
		for _, protocol := range []uint8{4, 41, 47, 97} {
			rows = append(rows,
				row{"protocol to the node", tunnels(open), []step{out(f.other("A", "N", protocol), "denied overlay")}},
				row{"protocol to a peer", tunnels(open), []step{out(f.other("A", "C", protocol), "allowed not-isolated new")}},
				row{"protocol to a group", tunnels(open), []step{out(Other(f.at("A"), netip.MustParseAddr(group), protocol, make([]byte, 24)...), "denied overlay")}},
			)
		}
		return rows
	})
	// The port in the second fragment, behind the options of the first.
	f := six()
	hidden := Other(f.at("A"), f.at("N"), Destinations, slices.Concat([]byte{protocolUDP, 0, 1, 4, 0, 0, 0, 0}, f.udp("A:1000", "N:4789").Pad(56).segment)...)
	list(t, m, f, []row{
		{"hidden behind options", tunnels(open), []step{out(hidden, "denied overlay"), out(hidden.Fragment(7, 0, 8), "denied ...")}},
		{"behind options", tunnels(open), []step{out(f.udp("A:1", "N:4789").Extend(Extension{HopByHop, 8}), "denied overlay"), out(f.other("A", "N", protocolGRE).Extend(Extension{Destinations, 8}), "denied overlay")}},
	})
	f = four()
	list(t, m, f, []row{
		{"to broadcast", tunnels(open), []step{out(f.udp("A:1", "255.255.255.255:4789"), "denied overlay")}},
	})
	t.Run("switched off", func(t *testing.T) {
		table(t, machine(t, func(o *Options) { o.SourceCheck = false }), func(f family) []row {
			return []row{{"to the node", tunnels(open), []step{out(f.udp("A:1", "N:4789"), "allowed not-isolated new")}}}
		})
	})
}
