// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Protocols that the constructors have no function for are given to Other.
const (
	protocolICMP    = uint8(layers.IPProtocolICMPv4)
	protocolTCP     = uint8(layers.IPProtocolTCP)
	protocolUDP     = uint8(layers.IPProtocolUDP)
	protocolICMPv6  = uint8(layers.IPProtocolICMPv6)
	protocolSCTP    = uint8(layers.IPProtocolSCTP)
	protocolFragHdr = uint8(layers.IPProtocolIPv6Fragment)
	protocolAuth    = uint8(layers.IPProtocolAH)
)

// Packet describes one frame. It is a value: every method returns a changed
// copy, so a test may keep one packet and derive others from it. An error in
// its making is kept and returned by Frame.
type Packet struct {
	src, dst netip.Addr
	hops     uint8 // TTL or hop limit
	protocol uint8
	segment  []byte // layer 4: header and payload

	options    int // words of IPv4 options
	extensions []Extension
	fragment   *fragment

	tags      []tag
	etherType layers.EthernetType // of body
	body      []byte              // layer 3, where it is not IP

	mangle []func(frame []byte) []byte
	err    error
}

type tag struct {
	kind layers.EthernetType // 802.1Q or 802.1ad
	id   uint16
}

// Frame returns the packet from the Ethernet header up. Lengths and checksums
// are right unless a mangling made them wrong.
func (p Packet) Frame() ([]byte, error) {
	network, err := p.Network()
	if err != nil {
		return nil, err
	}
	kind := p.etherType
	stack := make([]gopacket.SerializableLayer, 0, len(p.tags)+2)
	for _, t := range slices.Backward(p.tags) {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: t.id, Type: kind})
		kind = t.kind
	}
	slices.Reverse(stack)
	ethernet := &layers.Ethernet{SrcMAC: hardware(p.src), DstMAC: hardware(p.dst), EthernetType: kind}
	stack = append([]gopacket.SerializableLayer{ethernet}, stack...)
	frame, err := serialize(append(stack, gopacket.Payload(network))...)
	if err != nil {
		return nil, fmt.Errorf("packet %s > %s: %w", p.src, p.dst, err)
	}
	frame = frame[:14+4*len(p.tags)+len(network)] // gopacket fills up to 60 bytes
	for _, change := range p.mangle {
		frame = change(frame)
	}
	return frame, nil
}

// Network returns the packet from layer 3 up, before any mangling: what an
// ICMP error quotes.
func (p Packet) Network() ([]byte, error) {
	switch {
	case p.err != nil:
		return nil, p.err
	case p.body != nil:
		return p.body, nil
	case p.src.Is4():
		return p.ipv4()
	}
	return p.ipv6()
}

// Tag puts one more 802.1Q tag in front of layer 3, inside those there are.
func (p Packet) Tag(id uint16) Packet {
	p.tags = append(slices.Clone(p.tags), tag{layers.EthernetTypeDot1Q, id})
	return p
}

// ServiceTag is Tag with 802.1ad, the outer tag of a provider.
func (p Packet) ServiceTag(id uint16) Packet {
	p.tags = append(slices.Clone(p.tags), tag{layers.EthernetTypeQinQ, id})
	return p
}

// Hops sets the TTL or hop limit.
func (p Packet) Hops(n uint8) Packet { p.hops = n; return p }

// From changes the source address of layer 3 and leaves the rest, the
// checksum of layer 4 too, as it is: what a forger does.
func (p Packet) From(src netip.Addr) Packet { p.src = src; return p }

// To changes the destination address of layer 3 alone.
func (p Packet) To(dst netip.Addr) Packet { p.dst = dst; return p }

// Options adds words (4 bytes each, at most 10) of IPv4 options.
func (p Packet) Options(words int) Packet { p.options = words; return p }

// Pad appends n zero bytes to layer 4; a length or checksum inside layer 4
// stays what it was.
func (p Packet) Pad(n int) Packet {
	p.segment = append(slices.Clone(p.segment), make([]byte, n)...)
	return p
}

// Short keeps the first n bytes of layer 4; the lengths of layer 3 agree.
func (p Packet) Short(n int) Packet {
	p.segment = p.segment[:min(n, len(p.segment))]
	return p
}

// Cut keeps the first n bytes of the frame; the lengths inside stay.
func (p Packet) Cut(n int) Packet {
	return p.Mangle(func(frame []byte) []byte { return frame[:min(n, len(frame))] })
}

// Set overwrites the bytes of the frame at offset.
func (p Packet) Set(offset int, bytes ...byte) Packet {
	return p.Mangle(func(frame []byte) []byte { copy(frame[offset:], bytes); return frame })
}

// Trail appends n bytes behind layer 3, as the padding of short frames.
func (p Packet) Trail(n int) Packet {
	return p.Mangle(func(frame []byte) []byte { return append(frame, make([]byte, n)...) })
}

// Mangle changes the finished frame; the function may return another slice.
func (p Packet) Mangle(change func(frame []byte) []byte) Packet {
	p.mangle = append(slices.Clone(p.mangle), change)
	return p
}

// ip begins an IP packet; both addresses must be of one family.
func ip(src, dst netip.Addr, protocol uint8, segment ...gopacket.SerializableLayer) Packet {
	p := Packet{src: src, dst: dst, hops: 64, protocol: protocol, etherType: layers.EthernetTypeIPv6}
	if src.Is4() {
		p.etherType = layers.EthernetTypeIPv4
	}
	if src.Is4() != dst.Is4() {
		p.err = fmt.Errorf("packet %s > %s: the addresses are of two families", src, dst)
		return p
	}
	p.segment, p.err = serialize(segment...)
	return p
}

func (p Packet) ipv4() ([]byte, error) {
	header := &layers.IPv4{
		Version: 4, TTL: p.hops, Protocol: layers.IPProtocol(p.protocol),
		SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(),
	}
	for range p.options * 4 {
		header.Options = append(header.Options, layers.IPv4Option{OptionType: 1, OptionLength: 1})
	}
	if f := p.fragment; f != nil {
		header.Id = uint16(f.id)
		header.FragOffset = uint16(f.offset / 8)
		if f.more {
			header.Flags = layers.IPv4MoreFragments
		}
	}
	if len(p.extensions) > 0 {
		return nil, errors.New("packet: IPv4 has no extension headers")
	}
	return serialize(header, gopacket.Payload(p.segment))
}

func (p Packet) ipv6() ([]byte, error) {
	chain, first := p.chain()
	header := &layers.IPv6{
		Version: 6, HopLimit: p.hops, NextHeader: layers.IPProtocol(first),
		SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(),
	}
	return serialize(header, gopacket.Payload(append(chain, p.segment...)))
}

// network is the pseudo header of layer 4's checksum.
func network(src, dst netip.Addr, protocol layers.IPProtocol) gopacket.NetworkLayer {
	if src.Is4() {
		return &layers.IPv4{SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), Protocol: protocol}
	}
	return &layers.IPv6{SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), NextHeader: protocol}
}

func serialize(stack ...gopacket.SerializableLayer) ([]byte, error) {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, stack...); err != nil {
		return nil, fmt.Errorf("serialize: %w", err)
	}
	return slices.Clone(buffer.Bytes()), nil
}

// hardware gives each address a MAC address of its own, as IPv4 multicast and
// the rest do not matter to the programs.
func hardware(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x02, b[11], b[12], b[13], b[14], b[15]}
}
