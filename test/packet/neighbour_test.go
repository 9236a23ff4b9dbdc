// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestARP(t *testing.T) {
	f := four()
	zero := netip.IPv4Unspecified()
	sealed := func(w *world) { w.sets(setNone, setNone) }
	open := func(w *world) { w.sets(0, 0) }
	forwards := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) { e.Flags = uint8(bpf.WeirEndpointFlagEP_FORWARDS) })
	}
	notReady := func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }
	audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
	list(t, machine(t, nil), f, []row{
		{"a question", sealed, []step{out(ARP(1, f.at("A"), f.at("N")), "allowed neighbour")}},
		{"an answer", sealed, []step{out(ARP(2, f.at("A"), f.at("N")), "allowed neighbour")}},
		{"a probe", sealed, []step{out(ARP(1, zero, f.at("A")), "allowed neighbour")}},
		{"for another pod", sealed, []step{out(ARP(2, f.at("B"), f.at("N")), "denied neighbour-forged")}},
		{"for the node", sealed, []step{out(ARP(2, f.at("N"), f.at("C")), "denied neighbour-forged")}},
		{"for another pod, not isolated", open, []step{out(ARP(2, f.at("B"), f.at("N")), "denied neighbour-forged")}},
		{"for another pod, audited", audit, []step{out(ARP(2, f.at("B"), f.at("N")), "denied neighbour-forged")}},
		{"for another, by a pod that forwards", forwards, []step{out(ARP(2, f.at("X"), f.at("N")), "allowed neighbour")}},
		{"to the pod, a question", sealed, []step{in(ARP(1, f.at("N"), f.at("A")), "allowed neighbour").via(fromNode)}},
		{"to the pod, an answer", sealed, []step{in(ARP(2, f.at("B"), f.at("A")), "allowed neighbour").via(linkB)}},
		{"not ready", notReady, []step{out(ARP(1, f.at("A"), f.at("N")), "allowed neighbour")}},
		{"another hardware, sender at another place", sealed, []step{out(ARP(2, f.at("A"), f.at("N")).Set(14+4, 7), "denied neighbour-forged")}},
		{"another protocol in it", sealed, []step{out(ARP(2, f.at("A"), f.at("N")).Set(14+2, 0x86, 0xdd), "denied neighbour-forged")}},
		{"tagged", sealed, []step{out(ARP(2, f.at("B"), f.at("N")).Tag(5), "denied neighbour-forged"), out(ARP(1, f.at("A"), f.at("N")).Tag(5), "allowed neighbour")}},
		{"cut", sealed, []step{out(ARP(1, f.at("A"), f.at("N")).Cut(14+20), "denied *")}},
	})
	t.Run("without source check", func(t *testing.T) {
		list(t, machine(t, func(o *Options) { o.SourceCheck = false }), f, []row{
			{"for another pod", nil, []step{out(ARP(2, f.at("B"), f.at("N")), "allowed neighbour")}},
		})
	})
}

func TestNeighbourDiscovery(t *testing.T) {
	f := six()
	a, b, n := f.at("A"), f.at("B"), f.at("N")
	self, other := netip.MustParseAddr("fe80::aa"), netip.MustParseAddr("fe80::bb")
	none, all, routers := netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::2")
	sealed := func(w *world) { w.sets(setNone, setNone) }
	open := func(w *world) { w.sets(0, 0) }
	forwards := func(w *world) {
		w.change(func(e *bpf.WeirEndpoint) { e.Flags = uint8(bpf.WeirEndpointFlagEP_FORWARDS) })
	}
	const yes, no = "allowed neighbour", "denied neighbour-forged"
	list(t, machine(t, nil), f, []row{
		{"ask from own address", sealed, []step{out(ND(135, a, SolicitedNode(n), n), yes)}},
		{"ask from link-local", sealed, []step{out(ND(135, self, SolicitedNode(n), n), yes)}},
		{"ask, duplicate address detection", sealed, []step{out(ND(135, none, SolicitedNode(a), a), yes)}},
		{"ask, unreachability probe to link-local", sealed, []step{out(ND(135, self, other, other), yes)}},
		{"ask from another's address", sealed, []step{out(ND(135, b, SolicitedNode(n), n), no)}},
		{"ask from another's address, not isolated", open, []step{out(ND(135, b, SolicitedNode(n), n), no)}},
		{"ask with hop limit 254", sealed, []step{out(ND(135, a, SolicitedNode(n), n).Hops(254), no)}},
		{"ask over the link", sealed, []step{out(ND(135, a, netip.MustParseAddr("ff05::1"), n), no)}},
		{"tell own address to all", sealed, []step{out(ND(136, a, all, a), yes)}},
		{"tell own address, from link-local", sealed, []step{out(ND(136, self, all, a), yes)}},
		{"tell own link-local", sealed, []step{out(ND(136, self, other, self), yes)}},
		{"tell another's link-local", sealed, []step{out(ND(136, self, all, other), no)}},
		{"tell link-local from own address", sealed, []step{out(ND(136, a, all, self), no)}},
		{"tell another pod's address", sealed, []step{out(ND(136, a, all, b), no)}},
		{"tell another pod's address, from link-local", sealed, []step{out(ND(136, self, all, b), no)}},
		{"tell the node's address", sealed, []step{out(ND(136, a, other, n), no)}},
		{"tell from another's address", sealed, []step{out(ND(136, b, all, a), no)}},
		{"tell with hop limit 64", sealed, []step{out(ND(136, a, all, a).Hops(64), no)}},
		{"tell, not isolated, forged", open, []step{out(ND(136, a, all, b), no)}},
		{"tell, by a pod that forwards", forwards, []step{out(ND(136, a, all, b), yes)}},
		{"ask for routers, link-local", sealed, []step{out(ND(133, self, routers, none), yes)}},
		{"ask for routers, no address yet", sealed, []step{out(ND(133, none, routers, none), yes)}},
		{"be a router", sealed, []step{out(ND(134, self, all, none), no)}},
		{"be a router, not isolated", open, []step{out(ND(134, self, all, none), no)}},
		{"ask, no address yet, one host", sealed, []step{out(ND(135, none, other, other), no)}},
		{"tell, no address yet", sealed, []step{out(ND(136, none, all, a), no)}},
		{"tagged, forged", sealed, []step{out(ND(136, a, all, b).Tag(4), no), out(ND(136, a, all, a).Tag(4), yes)}},
		{"redirect", sealed, []step{out(ND(137, self, a, n), no)}},
		{"redirect, not isolated", open, []step{out(ND(137, self, a, n), no)}},
		{"to the pod, ask", sealed, []step{in(ND(135, n, a, a), yes).via(fromNode)}},
		{"to the pod, tell", sealed, []step{in(ND(136, other, a, other), yes).via(linkB)}},
		{"to the pod, router from the node", sealed, []step{in(ND(134, other, all, none), yes).via(fromNode)}},
		{"to the pod, router from the uplink", sealed, []step{in(ND(134, other, all, none), yes).via(linkUp)}},
		{"to the pod, router from another pod", sealed, []step{in(ND(134, other, all, none), no).via(linkB)}},
		{"to the pod, router from another pod, not isolated", open, []step{in(ND(134, other, all, none), no).via(linkB)}},
		{"to the pod, redirect from the node", sealed, []step{in(ND(137, other, a, n), yes).via(fromNode)}},
		{"to the pod, redirect from another pod", sealed, []step{in(ND(137, other, a, n), no).via(linkB)}},
		{"behind a hop-by-hop header", sealed, []step{out(ND(136, a, all, b).Extend(Extension{HopByHop, 8}), no)}},
		{"behind a hop-by-hop header, be a router", open, []step{out(ND(134, self, all, none).Extend(Extension{HopByHop, 8}), no)}},
	})
	t.Run("without source check", func(t *testing.T) {
		list(t, machine(t, func(o *Options) { o.SourceCheck = false }), f, []row{
			{"tell another pod's address", sealed, []step{out(ND(136, a, all, b), yes)}},
		})
	})
	t.Run("fragmented", func(t *testing.T) {
		list(t, machine(t, nil), f, []row{
			{"be a router", sealed, []step{out(ND(134, self, all, none).Pad(64).Fragment(3, 0, 48), "denied *")}},
			{"tell another pod's address", sealed, []step{out(ND(136, a, all, b).Pad(64).Fragment(3, 0, 48), "denied *")}},
			{"tell own address, which RFC 6980 forbids too", sealed, []step{out(ND(136, a, all, a).Pad(64).Fragment(3, 0, 48), "denied *"), out(ND(136, a, all, a).Fragment(3, 0, 24), "denied *")}},
		})
	})
}
