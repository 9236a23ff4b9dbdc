// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// TCPFlags are the bits of the TCP header's flag byte.
type TCPFlags uint8

const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// TCP is a segment of src to dst without payload.
func TCP(src, dst netip.AddrPort, flags TCPFlags) Packet {
	header := &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Window: 1024,
		FIN: flags&FIN != 0, SYN: flags&SYN != 0, RST: flags&RST != 0, PSH: flags&PSH != 0, ACK: flags&ACK != 0,
	}
	_ = header.SetNetworkLayerForChecksum(network(src.Addr(), dst.Addr(), layers.IPProtocolTCP))
	return ip(src.Addr(), dst.Addr(), protocolTCP, header)
}

// UDP is a datagram with the payload.
func UDP(src, dst netip.AddrPort, payload ...byte) Packet {
	header := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	_ = header.SetNetworkLayerForChecksum(network(src.Addr(), dst.Addr(), layers.IPProtocolUDP))
	return ip(src.Addr(), dst.Addr(), protocolUDP, header, gopacket.Payload(payload))
}

// SCTP is a common header alone.
func SCTP(src, dst netip.AddrPort) Packet {
	header := &layers.SCTP{SrcPort: layers.SCTPPort(src.Port()), DstPort: layers.SCTPPort(dst.Port())}
	return ip(src.Addr(), dst.Addr(), protocolSCTP, header)
}

// Other is a packet of any protocol, with these bytes as layer 4.
func Other(src, dst netip.Addr, protocol uint8, segment ...byte) Packet {
	return ip(src, dst, protocol, gopacket.Payload(segment))
}

// Ether is a frame of an EtherType that is not IP, with these bytes as body.
func Ether(kind uint16, body ...byte) Packet {
	if body == nil {
		body = []byte{}
	}
	return Packet{src: netip.IPv4Unspecified(), dst: netip.IPv4Unspecified(), etherType: layers.EthernetType(kind), body: body}
}
