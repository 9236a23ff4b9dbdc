// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"slices"
)

// IPv6 extension headers, by IANA number.
const (
	HopByHop     uint8 = 0
	Routing      uint8 = 43
	Destinations uint8 = 60
	Auth               = protocolAuth
)

// Extension is one IPv6 extension header.
type Extension struct {
	Header uint8
	// Length in bytes: a multiple of 8, or of 4 and at least 12 for Auth.
	Length int
}

// Extend appends extension headers in front of layer 4. A fragment header
// stands behind all of them.
func (p Packet) Extend(headers ...Extension) Packet {
	p.extensions = append(slices.Clone(p.extensions), headers...)
	return p
}

// chain returns the extension headers, and the first next-header value.
func (p Packet) chain() ([]byte, uint8) {
	var out []byte
	kinds := make([]uint8, 0, len(p.extensions)+2)
	for _, e := range p.extensions {
		kinds = append(kinds, e.Header)
	}
	if p.fragment != nil {
		kinds = append(kinds, protocolFragHdr)
	}
	kinds = append(kinds, p.protocol)
	for i, e := range p.extensions {
		out = append(out, e.bytes(kinds[i+1])...)
	}
	if f := p.fragment; f != nil {
		out = append(out, f.header(p.protocol)...)
	}
	return out, kinds[0]
}

func (e Extension) bytes(next uint8) []byte {
	b := make([]byte, e.Length)
	b[0] = next
	if e.Header == Auth {
		b[1] = uint8(e.Length/4 - 2)
		return b
	}
	b[1] = uint8(e.Length/8 - 1)
	if e.Header != Routing {
		b[2], b[3] = 1, uint8(e.Length-4) // one PadN option
	}
	return b
}

type fragment struct {
	id     uint32
	offset int // bytes
	more   bool
}

func (f fragment) header(next uint8) []byte {
	b := make([]byte, 8)
	b[0] = next
	field := uint16(f.offset)
	if f.more {
		field |= 1
	}
	binary.BigEndian.PutUint16(b[2:], field)
	binary.BigEndian.PutUint32(b[4:], f.id)
	return b
}

// Fragment is the part of p that carries bytes from..to of its layer 4; from
// must be a multiple of 8. The flag "more" is set unless it is the end; with
// from 0 and to at the end it is an atomic fragment.
func (p Packet) Fragment(id uint32, from, to int) Packet {
	whole := len(p.segment)
	from, to = min(from, whole), min(to, whole)
	p.fragment = &fragment{id: id, offset: from, more: to < whole}
	p.segment = p.segment[from:to]
	return p
}
