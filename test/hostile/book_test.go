// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/packet"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// forgedSources: evil sends what is not from its own address.
func (b *book) forgedSources() {
	web4, web6 := b.web.Addrs[0], b.web.Addrs[1]
	onLink := ""
	if b.bridged { // a router would not carry it
		onLink = "web"
	}
	for _, row := range []struct {
		name       string
		source, to netip.Addr
		at, reason string
	}{
		{"IPv4 of a neighbour", b.friend.Addrs[0], web4, "web", "spoofed"},
		{"IPv6 of a neighbour", b.friend.Addrs[1], web6, "web", "spoofed"},
		{"IPv4 of nobody", addr("10.244.1.77"), web4, "web", "spoofed"},
		{"IPv6 of nobody", addr("fd00:10:244:1::77"), web6, "web", "spoofed"},
		{"IPv4 of the host outside", netns.OutsideAddr4, web4, "web", "spoofed"},
		{"IPv6 of the host outside", netns.OutsideAddr6, web6, "web", "spoofed"},
		{"IPv4 of the node", netns.NodeAddr4, web4, "web", "spoofed"},
		{"IPv6 of the node", netns.NodeAddr6, web6, "web", "spoofed"},
		{"IPv4 of the gateway", b.node.Gateway4(), web4, "web", "spoofed"},
		{"IPv6 of the gateway", b.node.Gateway6(), web6, "web", "spoofed"},
		{"IPv4 of a neighbour, to the outside", b.friend.Addrs[0], netns.OutsideAddr4, "outside", "spoofed"},
		{"IPv6 of a neighbour, to the outside", b.friend.Addrs[1], netns.OutsideAddr6, "outside", "spoofed"},
		{"IPv6 link-local to global", addr("fe80::bad"), web6, onLink, "spoofed"},
		{"IPv6 unspecified", addr("::"), web6, onLink, "spoofed"},
		{"IPv4 unspecified", addr("0.0.0.0"), web4, onLink, "spoofed"},
		{"IPv4 link-local", addr("169.254.7.7"), web4, "web", "spoofed"},
		{"IPv4 broadcast", addr("255.255.255.255"), web4, onLink, "spoofed"},
		{"IPv4 loopback", addr("127.0.0.1"), web4, onLink, "loopback"},
		{"IPv6 loopback", addr("::1"), web6, onLink, "loopback"},
		{"the target's own IPv4", web4, web4, "web", "spoofed"},
		{"the target's own IPv6", web6, web6, "web", "spoofed"},
	} {
		b.add(attack{name: "source " + row.name, at: row.at, reason: row.reason},
			packet.UDP(at(row.source, b.port()), at(row.to, 8080)))
	}
	tagged := packet.UDP(at(b.friend.Addrs[0], b.port()), at(web4, 8080)).Tag(7)
	b.add(attack{name: "source IPv4 of a neighbour, in a VLAN tag", at: onLink, mac: b.hop("evil", web4), reason: "spoofed"}, tagged)
}

// forgedOutside: a host outside says that it is somebody near.
func (b *book) forgedOutside() {
	for i, family := range []string{"IPv4", "IPv6"} {
		web := b.web.Addrs[i]
		for _, row := range []struct {
			name   string
			source netip.Addr
		}{
			{"the node", []netip.Addr{netns.NodeAddr4, netns.NodeAddr6}[i]},
			{"the gateway", []netip.Addr{b.node.Gateway4(), b.node.Gateway6()}[i]},
			{"the target", web},
			{"itself", []netip.Addr{netns.OutsideAddr4, netns.OutsideAddr6}[i]},
		} {
			b.add(attack{name: "from outside as " + row.name + " " + family, sender: "outside", at: "web", subject: "web", way: "ingress", reason: "no-rule"},
				packet.UDP(at(row.source, b.port()), at(web, 8080)))
		}
	}
}

// encapsulated: evil lets its own node take off a cover and believe what is
// inside.
func (b *book) encapsulated() {
	local4 := ""
	if b.bridged {
		local4 = "web"
	}
	for _, row := range []struct {
		name string
		to   netip.Addr
		port uint16
		link string
		id   uint32
		at   string
	}{
		{"unicast IPv4", netns.NodeAddr4, vxlanPort4, "vx4", 42, "web"},
		{"the gateway's IPv4", b.node.Gateway4(), vxlanPort4, "vx4", 42, "web"},
		{"the uplink's broadcast", addr("192.168.77.255"), vxlanPort4, "vx4", 42, "web"},
		{"the pods' broadcast", addr("10.244.1.255"), vxlanPort4, "vx4", 42, local4},
		{"the broadcast", addr("255.255.255.255"), vxlanPort4, "vx4", 42, "web"},
		{"unicast IPv6", netns.NodeAddr6, vxlanPort6, "vx6", 43, "web"},
		{"the gateway's IPv6", b.node.Gateway6(), vxlanPort6, "vx6", 43, "web"},
		{"all nodes IPv6", addr("ff02::1"), vxlanPort6, "vx6", 43, ""},
	} {
		i := 0
		if row.to.Is6() {
			i = 1
		}
		mark := b.nextMark()
		inner := b.inner(row.link, marked(packet.UDP(at(b.friend.Addrs[i], b.port()), at(b.web.Addrs[i], 8080)), mark))
		cover := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, row.id<<8)
		a := attack{name: "VXLAN to " + row.name, at: row.at, reason: "overlay"}
		if !b.bridged && row.at == "" && row.to == addr("10.244.1.255") {
			continue // nobody's address on a routed node: it is an unknown pod's
		}
		b.addWhole(a, packet.UDP(at(b.evil.Addrs[i], b.port()), at(row.to, row.port), append(cover, inner...)...))
	}
	body := make([]byte, 40)
	for _, row := range []struct {
		name     string
		protocol uint8
		at       string
	}{{"IPIP", 4, "node-ipip"}, {"GRE", 47, "node-gre"}, {"EtherIP", 97, "node-etherip"}} {
		b.add(attack{name: row.name + " to the node", at: row.at, reason: "overlay"}, packet.Other(b.evil.Addrs[0], netns.NodeAddr4, row.protocol, body...))
	}
	b.add(attack{name: "IPv6 in IPv6 to the node", at: "node-sit", reason: "overlay"}, packet.Other(b.evil.Addrs[1], netns.NodeAddr6, 41, body...))
}

// inner is a frame to a tunnel device, so that the node routes what is in it.
func (b *book) inner(device string, p packet.Packet) []byte {
	link, err := b.node.Link.LinkByName(device)
	must(b.t, err)
	frame, err := p.Frame()
	must(b.t, err)
	copy(frame, link.Attrs().HardwareAddr)
	return frame
}

// fragments: what hides behind being a part.
func (b *book) fragments() {
	payload := make([]byte, 64)
	for i, family := range []string{"IPv4", "IPv6"} {
		web := b.web.Addrs[i]
		nodeAddr := []netip.Addr{netns.NodeAddr4, netns.NodeAddr6}[i]
		mark := b.nextMark()
		whole := packet.UDP(at(nodeAddr, b.port()), at(web, 8080), append(payload, mark...)...)
		// Where conntrack is, the parts arrive from nowhere, as the node's own do.
		b.addWhole(attack{name: "fragments from outside as the node " + family, sender: "outside", at: "web", subject: "web", way: "ingress", reason: "no-rule", joined: b.tracked},
			whole.Fragment(uint32(0x1100+i), 0, 40), whole.Fragment(uint32(0x1100+i), 40, 9999))

		evil, friend := b.evil.Addrs[i], b.friend.Addrs[i]
		segment := packet.TCP(at(evil, b.port()), at(friend, 8080), packet.SYN).Pad(32)
		arrives := "friend"
		if b.tracked { // conntrack waits for the missing part
			arrives = ""
		}
		headless := packet.TCP(at(evil, b.port()), at(web, 8080), packet.SYN).Fragment(uint32(0x1200+i), 0, 8)
		b.addWhole(attack{name: "a first fragment without ports " + family, reason: "fragment"}, headless)
		b.add(attack{name: "a later fragment alone " + family, at: arrives, reason: "fragment"}, segment.Fragment(uint32(0x1300+i), 24, 9999))
	}
}

// withoutSYN: TCP that says it is the middle of something.
func (b *book) withoutSYN() {
	flags := map[string]packet.TCPFlags{"ACK": packet.ACK, "SYN+ACK": packet.SYN | packet.ACK, "RST": packet.RST, "FIN+ACK": packet.FIN | packet.ACK, "nothing": 0}
	for i, family := range []string{"IPv4", "IPv6"} {
		for _, name := range []string{"ACK", "SYN+ACK", "RST", "FIN+ACK", "nothing"} {
			b.add(attack{name: "TCP " + name + " past egress " + family, at: "web", reason: "no-rule"},
				packet.TCP(at(b.evil.Addrs[i], b.port()), at(b.web.Addrs[i], 8080), flags[name]))
		}
		b.add(attack{name: "TCP ACK past ingress " + family, sender: "open", at: "web", subject: "web", way: "ingress", reason: "no-rule"},
			packet.TCP(at(b.open.Addrs[i], b.port()), at(b.web.Addrs[i], 8080), packet.ACK))
		b.add(attack{name: "TCP ACK past ingress from outside " + family, sender: "outside", at: "web", subject: "web", way: "ingress", reason: "no-rule"},
			packet.TCP(at([]netip.Addr{netns.OutsideAddr4, netns.OutsideAddr6}[i], b.port()), at(b.web.Addrs[i], 8080), packet.ACK))
		if b.strict { // else it is the limit that README states
			b.add(attack{name: "TCP ACK from a served port " + family, at: "friend", reason: "no-rule"},
				packet.TCP(at(b.evil.Addrs[i], 8080), at(b.friend.Addrs[i], b.port()), packet.ACK))
		}
	}
}

// errors: ICMP errors that carry data where no flow is.
func (b *book) errors() {
	for i, family := range []string{"IPv4", "IPv6"} {
		outside := []netip.Addr{netns.OutsideAddr4, netns.OutsideAddr6}[i]
		unknown := packet.UDP(at(b.web.Addrs[i], b.port()), at(outside, 9500))
		b.add(attack{name: "ICMP error about no flow, to a pod " + family, sender: "outside", at: "web", subject: "web", way: "ingress", reason: "no-rule"},
			packet.Unreachable(outside, b.web.Addrs[i], unknown))
		unknown = packet.UDP(at(outside, b.port()), at(b.evil.Addrs[i], 9500))
		b.add(attack{name: "ICMP error about no flow, from a pod " + family, at: "outside", reason: "no-rule"},
			packet.Unreachable(b.evil.Addrs[i], outside, unknown))
	}
	b.add(attack{name: "ICMP redirect to a pod", sender: "open", at: "web", subject: "web", way: "ingress", reason: "no-rule"},
		packet.Quote(b.open.Addrs[0], b.web.Addrs[0], packet.ICMPRedirect, 1, packet.UDP(at(b.web.Addrs[0], b.port()), at(netns.OutsideAddr4, 9500))))
}

// neighbours: evil speaks for others on the link.
func (b *book) neighbours() {
	everybody := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	evil, web, friend := b.evil.Addrs, b.web.Addrs, b.friend.Addrs
	evilLocal := addr("fe80::bad")
	onBridge := func(name string) string { // a router keeps the link to itself
		if b.bridged {
			return name
		}
		return ""
	}
	row := func(name string, mac net.HardwareAddr, p packet.Packet) {
		b.add(attack{name: name, at: onBridge("web"), mac: mac, reason: "neighbour-forged"}, p)
	}
	direct := b.hop("evil", web[1])
	row("router advertisement", everybody, packet.ND(packet.NDRouterTell, evilLocal, addr("ff02::1"), netip.Addr{}))
	row("router advertisement to one pod", direct, packet.ND(packet.NDRouterTell, evilLocal, web[1], netip.Addr{}))
	row("redirect", direct, packet.ND(packet.NDRedirect, evilLocal, web[1], evil[1]))
	row("neighbour advertisement for another", direct, packet.ND(packet.NDNeighbour, evil[1], web[1], friend[1]))
	row("neighbour advertisement as another", direct, packet.ND(packet.NDNeighbour, friend[1], web[1], friend[1]))
	row("neighbour advertisement for all to see", everybody, packet.ND(packet.NDNeighbour, evil[1], addr("ff02::1"), b.node.Gateway6()))
	row("neighbour solicitation as another", direct, packet.ND(packet.NDNeighbourAsk, friend[1], web[1], web[1]))
	row("neighbour advertisement from afar", direct, packet.ND(packet.NDNeighbour, evilLocal, web[1], evil[1]).Hops(64))

	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	arp := func(name string, mac net.HardwareAddr, operation uint16, sender, target netip.Addr) {
		mark := b.nextMark()
		b.addWhole(attack{name: name, at: onBridge("web"), mac: mac, reason: "neighbour-forged"}, trailed(packet.ARP(operation, sender, target), mark))
	}
	arp("ARP answer as another", b.hop("evil", web[0]), 2, friend[0], web[0])
	arp("ARP answer as the gateway", broadcast, 2, b.node.Gateway4(), web[0])
	arp("ARP question as another", broadcast, 1, b.open.Addrs[0], web[0])
	arp("gratuitous ARP as another", broadcast, 1, friend[0], friend[0])
}

// frames: what is odd at layer 2.
func (b *book) frames() {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	place := ""
	if b.bridged {
		place = "web"
	}
	mark := b.nextMark()
	b.addWhole(attack{name: "another EtherType", at: place, mac: b.hop("evil", b.web.Addrs[0]), reason: "unsupported"}, trailed(packet.Ether(0x88b5, make([]byte, 46)...), mark))
	if !b.bridged {
		return // Linux routes nothing that came by broadcast
	}
	mark = b.nextMark()
	b.addWhole(attack{name: "another EtherType, to an isolated pod", sender: "open", at: "web", mac: b.web.MAC, subject: "web", way: "ingress", reason: "unsupported"}, trailed(packet.Ether(0x88b5, make([]byte, 46)...), mark))
	for i, family := range []string{"IPv4", "IPv6"} {
		b.add(attack{name: "broadcast with a pod's address " + family, sender: "open", at: "web", mac: broadcast, subject: "web", way: "ingress", reason: "no-rule"},
			packet.UDP(at(b.open.Addrs[i], b.port()), at(b.web.Addrs[i], 8080)))
	}
}

// addWhole is add for packets that carry the next mark already.
func (b *book) addWhole(a attack, packets ...packet.Packet) {
	b.add(a)
	b.list[len(b.list)-1].packets = slices.Clone(packets)
}
