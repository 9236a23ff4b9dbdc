// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirnet/weir/bpf"
)

func addressKey(a netip.Addr) bpf.WeirAddress {
	return bpf.WeirAddress{Bytes: a.WithZone("").As16()}
}

func addressOf(k bpf.WeirAddress) netip.Addr {
	return netip.AddrFrom16(k.Bytes).Unmap()
}

func prefixKey(p netip.Prefix) bpf.WeirCidrKey {
	length := p.Bits()
	if p.Addr().Is4() {
		length += 96
	}
	return bpf.WeirCidrKey{PrefixLen: uint32(length), Addr: p.Addr().As16()}
}

func prefixOf(k bpf.WeirCidrKey) netip.Prefix {
	a := netip.AddrFrom16(k.Addr)
	if a.Is4In6() && k.PrefixLen >= 96 {
		return netip.PrefixFrom(a.Unmap(), int(k.PrefixLen)-96)
	}
	return netip.PrefixFrom(a, int(k.PrefixLen))
}

// bigEndian gives a port the byte order of the wire in a host-order field.
func bigEndian(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}
