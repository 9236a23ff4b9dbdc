// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"net/netip"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/packet"
)

func hasPorts(p policy.Protocol) bool {
	return p == policy.TCP || p == policy.UDP || p == policy.SCTP
}

// hasIdentity reports whether two flows of a protocol between the same ends can
// be told apart: by source ports, or the identifier of an echo.
func hasIdentity(p policy.Protocol) bool {
	return hasPorts(p) || p == policy.ICMP || p == policy.ICMPv6
}

// frames are a probe's first packet, and what answers it.
type frames struct {
	request, reply packet.Packet
}

// craft makes the packets of a probe. The serial number is the source port,
// unless the probe has one, or the identifier of an echo.
func craft(p Probe, serial uint16) frames {
	if p.SourcePort != 0 {
		serial = p.SourcePort
	}
	from, to := p.Source.Addr, p.Destination.Addr
	client, server := netip.AddrPortFrom(from, serial), netip.AddrPortFrom(to, p.Port)
	switch p.Protocol {
	case policy.TCP:
		return frames{packet.TCP(client, server, packet.SYN), packet.TCP(server, client, packet.SYN|packet.ACK)}
	case policy.UDP:
		return frames{packet.UDP(client, server, 'w', 'e', 'i', 'r'), packet.UDP(server, client, 'w', 'e', 'i', 'r')}
	case policy.SCTP:
		return frames{packet.SCTP(client, server), packet.SCTP(server, client)}
	case policy.ICMP, policy.ICMPv6:
		return frames{packet.Echo(from, to, serial), packet.EchoReply(to, from, serial)}
	}
	body := make([]byte, 24)
	body[0], body[1] = byte(serial>>8), byte(serial)
	return frames{packet.Other(from, to, uint8(p.Protocol), body...), packet.Other(to, from, uint8(p.Protocol), body...)}
}
