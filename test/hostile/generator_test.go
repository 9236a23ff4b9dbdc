// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"math/rand/v2"
	"net/netip"

	"github.com/weirnet/weir/test/packet"
)

// generator makes frames of which many are nearly right: frames of noise alone
// would all end in the first check.
type generator struct {
	*rand.Rand
	realm
	recent [2][]packet.Packet // out and in: what errors may be about
}

// longestFrame is what a link carries, and less than a test run takes.
const longestFrame = 1514

// pick is an index, each as likely as its weight.
func (g *generator) pick(weights ...int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := g.IntN(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	return 0
}

func choose[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// frame is one from or to pod A; intact: as a right stack would have made it.
func (g *generator) frame(out bool) (frame []byte, intact bool) {
	for {
		p := g.packet(out)
		g.remember(out, p)
		intact = true
		if g.IntN(3) == 0 {
			p = g.wrap(p)
		}
		frame, err := p.Frame()
		if err != nil || len(frame) > longestFrame {
			continue // two families, or errors about errors
		}
		if g.IntN(3) == 0 {
			frame, intact = g.spoil(frame), false
		}
		return frame, intact
	}
}

func (g *generator) remember(out bool, p packet.Packet) {
	list := &g.recent[map[bool]int{true: 0, false: 1}[out]]
	*list = append((*list)[max(0, len(*list)-63):], p)
}

func (g *generator) port() uint16 {
	return choose[uint16](g, 80, 53, 443, 5000, 80, 443, 53, 4789, 67, 68, 0, 1, 65535, uint16(1000+g.IntN(4)), uint16(g.IntN(65536)))
}

// portless is any protocol but those with ports: a body without a right header
// would be no intact packet of them.
func (g *generator) portless() uint8 {
	for {
		if p := uint8(g.IntN(256)); p != 6 && p != 17 && p != 132 {
			return p
		}
	}
}

// ends are source and destination; mostly A stands where it belongs.
func (g *generator) ends(out bool) (source, destination netip.Addr) {
	i := g.IntN(2)
	own := g.realm["A"][i]
	if g.IntN(8) == 0 {
		own = g.stranger(i)
	}
	peer := g.realm[choose(g, "C", "C", "C", "O", "O", "N", "B", "D", "X", "A")][i]
	if g.IntN(8) == 0 {
		peer = g.stranger(i)
	}
	if out {
		return own, peer
	}
	return peer, own
}

func (g *generator) stranger(i int) netip.Addr {
	if i == 0 {
		return choose(g, addr("0.0.0.0"), addr("255.255.255.255"), addr("127.0.0.1"), addr("224.0.0.1"), addr("169.254.1.1"), g.realm["B"][0], g.realm["N"][0])
	}
	return choose(g, addr("::"), addr("::1"), addr("fe80::1"), addr("fe80::bad"), addr("ff02::1"), addr("ff02::2"), addr("::ffff:10.1.0.1"),
		packet.SolicitedNode(g.realm["A"][1]), g.realm["B"][1], g.realm["N"][1])
}

func (g *generator) packet(out bool) packet.Packet {
	source, destination := g.ends(out)
	from, to := at(source, g.port()), at(destination, g.port())
	switch g.pick(30, 25, 3, 12, 10, 8, 4, 3, 2, 3) {
	case 0:
		return packet.TCP(from, to, choose(g, packet.SYN, packet.SYN, packet.ACK, packet.ACK, packet.SYN|packet.ACK, packet.RST, packet.FIN|packet.ACK, packet.TCPFlags(g.IntN(32)))).Pad(g.IntN(40))
	case 1:
		return packet.UDP(from, to, make([]byte, g.IntN(60))...)
	case 2:
		return packet.SCTP(from, to)
	case 3:
		return choose(g, packet.Echo, packet.EchoReply)(source, destination, uint16(g.IntN(3)))
	case 4:
		return g.report(out, source, destination)
	case 5:
		return g.discovery(source, destination)
	case 6:
		return packet.Other(source, destination, choose(g, 2, 4, 41, 47, 50, 97, g.portless()), make([]byte, g.IntN(60))...).Hops(choose[uint8](g, 1, 64))
	case 7:
		if source.Is4() && destination.Is4() {
			return packet.ARP(uint16(1+g.IntN(2)), source, destination)
		}
		return packet.MLD(choose(g, packet.MLDQuery, packet.MLDReport, packet.MLDDone), choose(g, source, addr("fe80::1")), addr("ff02::16"), addr("ff02::16"))
	case 8:
		return packet.Ether(choose[uint16](g, 0x88b5, 0x8847, uint16(g.IntN(65536))), make([]byte, 46)...)
	}
	if out {
		return packet.UDP(at(addr("0.0.0.0"), 68), at(addr("255.255.255.255"), 67), make([]byte, 40)...)
	}
	return packet.UDP(at(source, 67), at(destination, 68), make([]byte, 40)...)
}

// report is an ICMP error about a packet that may be there.
func (g *generator) report(out bool, source, destination netip.Addr) packet.Packet {
	list := g.recent[map[bool]int{true: 1, false: 0}[out]]
	if len(list) == 0 {
		return packet.Echo(source, destination, 1)
	}
	about := choose(g, list...)
	if g.IntN(4) == 0 {
		about = about.Pad(choose(g, 500, 1200, 1300))
	}
	kind := choose[uint8](g, 1, 2, 3, 4, 5, 11, 12)
	return packet.Quote(source, destination, kind, uint8(g.IntN(5)), about)
}

func (g *generator) discovery(source, destination netip.Addr) packet.Packet {
	if source.Is4() {
		source, destination = choose(g, g.realm["A"][1], addr("fe80::1")), choose(g, addr("ff02::1"), g.realm["A"][1], g.realm["C"][1])
	}
	kind := choose(g, packet.NDRouterAsk, packet.NDRouterTell, packet.NDNeighbourAsk, packet.NDNeighbour, packet.NDRedirect)
	p := packet.ND(kind, source, destination, choose(g, source, g.realm["A"][1], g.realm["B"][1]))
	if g.IntN(6) == 0 {
		return p.Hops(64)
	}
	return p
}

// wrap adds what hides a packet: tags, options, extension headers, parts.
func (g *generator) wrap(p packet.Packet) packet.Packet {
	switch g.pick(2, 1, 2, 4, 6, 1) {
	case 0:
		return p.Tag(uint16(g.IntN(4096)))
	case 1:
		return p.ServiceTag(1).Tag(uint16(g.IntN(4096)))
	case 2:
		return p.Options(1 + g.IntN(10))
	case 3:
		return p.Extend(packet.Extension{Header: choose(g, packet.HopByHop, packet.Routing, packet.Destinations, packet.Auth), Length: 24})
	case 4:
		from := 8 * g.IntN(4)
		return p.Fragment(uint32(g.IntN(4)), from, from+8*(1+g.IntN(4)))
	}
	return p.Hops(choose[uint8](g, 0, 1, 255))
}

// spoil makes a frame wrong.
func (g *generator) spoil(frame []byte) []byte {
	switch g.pick(6, 2, 1) {
	case 0:
		for range 1 + g.IntN(3) {
			frame[12+g.IntN(len(frame)-12)] = byte(g.IntN(256))
		}
	case 1:
		frame = frame[:14+g.IntN(len(frame)-13)]
	case 2:
		frame = append(frame, make([]byte, g.IntN(64))...)
	}
	return frame
}
