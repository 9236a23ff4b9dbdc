// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/binary"
	"net/netip"
)

// reading is what a frame says, read with as little trust as possible in its
// being right. It is apart from the programs' own parser on purpose.
type reading struct {
	kind       uint16 // EtherType behind at most two tags
	src, dst   netip.Addr
	hops       byte
	protocol   byte
	length     int // bytes, layer 3 up
	id         uint32
	part       part
	l4         []byte
	extended   bool // IPv6 with extension headers
	unreadable bool
}

type part int

const (
	whole part = iota
	first
	later
)

func read(frame []byte) (r reading) {
	at := 12
	for range 2 {
		if kind := be16(frame, at); kind != 0x8100 && kind != 0x88a8 {
			break
		}
		at += 4
	}
	if at+2 > len(frame) {
		return reading{unreadable: true}
	}
	r.kind = be16(frame, at)
	l3 := frame[at+2:]
	r.length = len(l3)
	switch r.kind {
	case 0x0800:
		r.readIPv4(l3)
	case 0x86dd:
		r.readIPv6(l3)
	case 0x0806:
		if len(l3) < 28 {
			r.unreadable = true
			break
		}
		r.src, r.dst = netip.AddrFrom4([4]byte(l3[14:18])), netip.AddrFrom4([4]byte(l3[24:28]))
	}
	return r
}

func (r *reading) readIPv4(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		r.unreadable = true
		return
	}
	header, total := int(b[0]&15)*4, int(be16(b, 2))
	if header < 20 || total < header || total > len(b) {
		r.unreadable = true
		return
	}
	r.src, r.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	r.hops, r.protocol, r.length, r.id = b[8], b[9], total, uint32(be16(b, 4))
	r.fragment(be16(b, 6)&0x1fff, be16(b, 6)&0x2000 != 0)
	r.l4 = b[header:total]
}

func (r *reading) readIPv6(b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		r.unreadable = true
		return
	}
	end := 40 + int(be16(b, 4))
	if end > len(b) {
		r.unreadable = true
		return
	}
	r.src, r.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	r.hops, r.protocol, r.length = b[7], b[6], end
	at := 40
	for at+8 <= end {
		size := 0
		switch r.protocol {
		case 0, 43, 60:
			size = 8 * (int(b[at+1]) + 1)
		case 51:
			size = 4 * (int(b[at+1]) + 2)
		case 44:
			size = 8
			r.fragment(be16(b, at+2)>>3, b[at+3]&1 != 0)
			r.id = binary.BigEndian.Uint32(b[at+4:])
		}
		if size == 0 {
			break
		}
		r.extended = true
		r.protocol = b[at]
		at += size
		if r.part == later {
			break
		}
	}
	r.l4 = b[min(at, end):end]
}

func (r *reading) fragment(offset uint16, more bool) {
	switch {
	case offset != 0:
		r.part = later
	case more:
		r.part = first
	}
}

// ports of TCP, UDP and SCTP; ok: they are there.
func (r *reading) ports() (source, destination uint16, ok bool) {
	if r.protocol != 6 && r.protocol != 17 && r.protocol != 132 || len(r.l4) < 4 {
		return 0, 0, false
	}
	return be16(r.l4, 0), be16(r.l4, 2), true
}

// begins: not TCP, or a SYN without ACK.
func (r *reading) begins() bool {
	return r.protocol != 6 || len(r.l4) > 13 && r.l4[13]&0x12 == 2
}

// icmp is the type; 6 bytes are enough, as quotes may end behind the identifier.
func (r *reading) icmp() (kind byte, ok bool) {
	if len(r.l4) < 6 || r.protocol != 1 && r.protocol != 58 {
		return 0, false
	}
	return r.l4[0], true
}

func be16(b []byte, at int) uint16 {
	if at+2 > len(b) {
		return 0
	}
	return binary.BigEndian.Uint16(b[at:])
}
