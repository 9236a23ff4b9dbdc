// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"net/netip"
)

// The world of random packets: pod A is isolated both ways, B is another pod,
// C, D and O are peers, N is the node, X is unknown. The policy of A:
//
//	to C TCP 80, UDP 53; to O everything; from C TCP 443, UDP 5000
type realm map[string][2]netip.Addr

func newRealm() realm {
	pair := func(four, six string) [2]netip.Addr { return [2]netip.Addr{addr(four), addr(six)} }
	return realm{
		"A": pair("10.1.0.1", "fd00:1::1"), "B": pair("10.1.0.2", "fd00:1::2"), "C": pair("10.2.0.3", "fd00:2::3"),
		"D": pair("10.2.0.4", "fd00:2::4"), "N": pair("10.9.0.1", "fd00:9::1"), "O": pair("192.0.2.9", "2001:db8::9"),
		"X": pair("198.51.100.1", "2001:db8:ffff::1"),
	}
}

func (r realm) is(name string, a netip.Addr) bool { return r[name][0] == a || r[name][1] == a }

// allows is the policy of A, by plain comparison.
func (r realm) allows(out bool, peer netip.Addr, protocol byte, port uint16, hasPort bool) bool {
	if out && r.is("O", peer) {
		return true
	}
	if !hasPort || !r.is("C", peer) {
		return false
	}
	if out {
		return protocol == 6 && port == 80 || protocol == 17 && port == 53
	}
	return protocol == 6 && port == 443 || protocol == 17 && port == 5000
}

// tuple is a flow as A sees it. ICMP queries: the identifier, and whether A
// asked, stand for the ports.
type tuple struct {
	remote                netip.Addr
	protocol              byte
	localPort, remotePort uint16
}

type piece struct {
	out      bool
	src, dst netip.Addr
	id       uint32
	protocol byte
}

// oracle says which packets may pass A's veth at all. It errs on the side of
// "may": what it forbids must never pass.
type oracle struct {
	realm
	linkA, linkB uint32
	flows        map[tuple]bool
	pieces       map[piece]bool // first fragments that passed
	dhcp         bool           // A has asked
}

func newOracle(r realm, linkA, linkB uint32) *oracle {
	return &oracle{realm: r, linkA: linkA, linkB: linkB, flows: map[tuple]bool{}, pieces: map[piece]bool{}}
}

// Why a packet may pass; empty: it may not.
func (o *oracle) why(out bool, r reading, ingress uint32) string {
	switch {
	case r.unreadable:
		return ""
	case r.kind == 0x0806:
		if !out || o.is("A", r.src) || r.src == addr("0.0.0.0") {
			return "neighbour"
		}
		return ""
	case r.kind != 0x0800 && r.kind != 0x86dd:
		return ""
	}
	if r.src.IsLoopback() || r.dst.IsLoopback() || r.kind == 0x86dd && (r.src.Is4In6() || r.dst.Is4In6()) {
		return ""
	}
	if kind, icmp := r.icmp(); icmp && r.protocol == 58 && r.kind == 0x86dd && kind >= 133 && kind <= 137 && r.part != later {
		return o.discovery(out, r, kind, ingress)
	}
	if why := o.link(out, r); why != "" {
		return why
	}
	if out && !o.is("A", r.src) {
		return ""
	}
	if r.part == later {
		if o.pieces[piece{out, r.src, r.dst, r.id, r.protocol}] {
			return "fragment"
		}
		return ""
	}
	return o.flow(out, r, ingress)
}

// discovery is judged by itself; no rule can allow more.
func (o *oracle) discovery(out bool, r reading, kind byte, ingress uint32) string {
	router := kind == 134 || kind == 137
	own := o.is("A", r.src) || r.src.IsLinkLocalUnicast() || r.src.IsUnspecified()
	if out && (router || r.hops != 255 || !own) || !out && router && (ingress == o.linkA || ingress == o.linkB) {
		return ""
	}
	return "neighbour"
}

// link is what configures the link and asks no policy.
func (o *oracle) link(out bool, r reading) string {
	kind, icmp := r.icmp()
	sport, dport, _ := r.ports()
	switch {
	case icmp && r.protocol == 58 && (kind >= 130 && kind <= 132 || kind == 143) && r.hops == 1 && r.dst.IsMulticast() && (r.src.IsLinkLocalUnicast() || r.src.IsUnspecified()):
		return "listener"
	case r.protocol == 2 && r.hops == 1 && r.dst.IsMulticast() && (!out || o.is("A", r.src)):
		return "listener"
	case out && r.protocol == 17 && sport == 68 && dport == 67 && r.src == addr("0.0.0.0") && r.dst == addr("255.255.255.255"):
		return "dhcp"
	case !out && r.kind == 0x0800 && r.part == whole && r.protocol == 17 && sport == 67 && dport == 68 && o.dhcp:
		return "dhcp"
	}
	return ""
}

func (o *oracle) flow(out bool, r reading, ingress uint32) string {
	sport, dport, ported := r.ports()
	if (r.protocol == 6 || r.protocol == 17 || r.protocol == 132) && !ported {
		return ""
	}
	peer, called, calling := r.src, dport, sport
	if out {
		peer = r.dst
	}
	key := o.key(out, r, sport, dport)
	switch {
	case !out && ingress == o.linkA && r.part == whole:
		return "own"
	case !out && ingress == 0 && o.is("N", r.src) && r.part == whole:
		return "node"
	case o.flows[key]:
		return "known"
	case out && o.is("N", r.dst):
		tunnel := r.protocol == 17 && dport == 4789 || r.protocol == 4 || r.protocol == 41 || r.protocol == 47 || r.protocol == 97
		if tunnel {
			return ""
		}
		return "to node"
	case o.allows(out, peer, r.protocol, called, ported):
		return "rule"
	case !r.begins() && o.allows(!out, peer, r.protocol, calling, ported):
		return "midstream"
	case o.related(out, r):
		return "related"
	}
	return ""
}

func (o *oracle) key(out bool, r reading, sport, dport uint16) tuple {
	k := tuple{remote: r.src, protocol: r.protocol, localPort: dport, remotePort: sport}
	if out {
		k = tuple{remote: r.dst, protocol: r.protocol, localPort: sport, remotePort: dport}
	}
	if kind, ok := r.icmp(); ok {
		asks, answers := queried(r.protocol, kind)
		if asks || answers {
			k.localPort, k.remotePort = be16(r.l4, 4), uint16(1)
			if asks != out { // the other end asked
				k.remotePort = 2
			}
		}
	}
	return k
}

func queried(protocol, kind byte) (asks, answers bool) {
	if protocol == 58 {
		return kind == 128, kind == 129
	}
	return kind == 8 || kind == 13 || kind == 15 || kind == 17, kind == 0 || kind == 14 || kind == 16 || kind == 18
}

// related: an ICMP error about a packet of a known flow.
func (o *oracle) related(out bool, r reading) bool {
	kind, ok := r.icmp()
	if !ok || len(r.l4) < 8 || r.part != whole {
		return false
	}
	limit, reports := 576, kind == 3 || kind == 11 || kind == 12
	if r.protocol == 58 {
		limit, reports = 1280, kind >= 1 && kind <= 4
	}
	if !reports || r.length > limit {
		return false
	}
	var q reading
	if b := r.l4[8:]; r.kind == 0x0800 && len(b) >= 20 {
		q.src, q.dst, q.protocol = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9]
		q.l4 = b[min(len(b), int(b[0]&15)*4):]
	} else if r.kind == 0x86dd && len(b) >= 40 {
		q.src, q.dst, q.protocol, q.l4 = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[6], b[40:]
	} else {
		return false
	}
	// The quoted packet went the other way.
	sport, dport, _ := q.ports()
	if own := map[bool]netip.Addr{true: q.dst, false: q.src}[out]; !o.is("A", own) && own != addr("0.0.0.0") { // that one asked for an address
		return false
	}
	return o.flows[o.key(!out, q, sport, dport)]
}

// passed notes what passed for a reason.
func (o *oracle) passed(out bool, r reading, why string) {
	if why == "dhcp" && out && r.part == whole {
		o.dhcp = true
	}
	if r.part == first {
		o.pieces[piece{out, r.src, r.dst, r.id, r.protocol}] = true
	}
	if r.part == later || why == "related" || why == "neighbour" || why == "dhcp" && !out {
		return
	}
	sport, dport, _ := r.ports()
	o.flows[o.key(out, r, sport, dport)] = true
}
