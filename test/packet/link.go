// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// Types of ICMPv6 that manage the link.
const (
	MLDQuery       uint8 = 130
	MLDReport      uint8 = 131
	MLDDone        uint8 = 132
	NDRouterAsk    uint8 = 133
	NDRouterTell   uint8 = 134
	NDNeighbourAsk uint8 = 135
	NDNeighbour    uint8 = 136
	NDRedirect     uint8 = 137
	MLDReport2     uint8 = 143
)

// ARP is a request (1) or a reply (2); sender and target are the protocol
// addresses in it.
func ARP(operation uint16, sender, target netip.Addr) Packet {
	body, err := serialize(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: operation, SourceHwAddress: hardware(sender), SourceProtAddress: sender.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
	})
	return Packet{src: sender, dst: target, etherType: layers.EthernetTypeARP, body: body, err: err}
}

// ND is a message of neighbour discovery with hop limit 255. The target is
// that of types 135 to 137; the others have none.
func ND(kind uint8, src, dst, target netip.Addr) Packet {
	body := make([]byte, 0, 32)
	switch kind {
	case NDNeighbourAsk, NDNeighbour, NDRedirect:
		body = append(body, target.AsSlice()...)
	case NDRouterTell:
		body = append(body, make([]byte, 8)...)
	}
	if kind == NDRedirect {
		body = append(body, target.AsSlice()...)
	}
	return ICMP(src, dst, kind, 0, 0, body...).Hops(255)
}

// SolicitedNode is the multicast group that owns an IPv6 address's questions
// (RFC 4291, 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 10: 0, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// MLD is a listener report (or query) for a group, with hop limit 1.
func MLD(kind uint8, src, dst, group netip.Addr) Packet {
	return ICMP(src, dst, kind, 0, 0, group.AsSlice()...).Hops(1)
}

// IGMP is a version 2 membership report with TTL 1.
func IGMP(src, group netip.Addr) Packet {
	message := append([]byte{0x16, 0, 0, 0}, group.AsSlice()...)
	sum := checksum(message)
	message[2], message[3] = byte(sum>>8), byte(sum)
	return Other(src, group, uint8(layers.IPProtocolIGMP), message...).Hops(1)
}
