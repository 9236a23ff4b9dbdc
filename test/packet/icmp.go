// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// ICMP types that tests name. The values of the two versions differ.
const (
	ICMPEchoReply      uint8 = 0
	ICMPUnreachable    uint8 = 3
	ICMPRedirect       uint8 = 5
	ICMPEcho           uint8 = 8
	ICMPTimeExceeded   uint8 = 11
	ICMPParameter      uint8 = 12
	ICMPTimestamp      uint8 = 13
	ICMPTimestampReply uint8 = 14

	ICMPv6Unreachable  uint8 = 1
	ICMPv6TooBig       uint8 = 2
	ICMPv6TimeExceeded uint8 = 3
	ICMPv6Parameter    uint8 = 4
	ICMPv6Echo         uint8 = 128
	ICMPv6EchoReply    uint8 = 129
)

// ICMP is a message of the family's ICMP: type, code, the four bytes that
// follow the checksum, and a body.
func ICMP(src, dst netip.Addr, kind, code uint8, rest uint32, body ...byte) Packet {
	message := make([]byte, 8+len(body))
	message[0], message[1] = kind, code
	binary.BigEndian.PutUint32(message[4:], rest)
	copy(message[8:], body)
	if src.Is4() {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
		return ip(src, dst, protocolICMP, gopacket.Payload(message))
	}
	header := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
	_ = header.SetNetworkLayerForChecksum(network(src, dst, layers.IPProtocolICMPv6))
	return ip(src, dst, protocolICMPv6, header, gopacket.Payload(message[4:]))
}

// Echo is an echo request with the identifier.
func Echo(src, dst netip.Addr, id uint16) Packet {
	return ICMP(src, dst, choose(src, ICMPEcho, ICMPv6Echo), 0, uint32(id)<<16|1)
}

// EchoReply answers Echo: src is who was asked.
func EchoReply(src, dst netip.Addr, id uint16) Packet {
	return ICMP(src, dst, choose(src, ICMPEchoReply, ICMPv6EchoReply), 0, uint32(id)<<16|1)
}

// Quote is an ICMP error of src to dst about a packet; it quotes all of it.
func Quote(src, dst netip.Addr, kind, code uint8, about Packet) Packet {
	quoted, err := about.Network()
	p := ICMP(src, dst, kind, code, 0, quoted...)
	if err != nil {
		p.err = err
	}
	return p
}

// Unreachable is the family's "port unreachable" about a packet.
func Unreachable(src, dst netip.Addr, about Packet) Packet {
	return Quote(src, dst, choose(src, ICMPUnreachable, ICMPv6Unreachable), choose(src, 3, 4), about)
}

func choose(a netip.Addr, four, six uint8) uint8 {
	if a.Is4() {
		return four
	}
	return six
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
