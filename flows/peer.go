// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/weirnet/weir/policy"
)

// Object names the pod or Service that the address belonged to.
func (p *Peer) Object() (policy.ObjectKey, bool) {
	switch {
	case p.Pod != nil:
		return p.Pod.ObjectKey, true
	case p.Service != nil:
		return p.Service.ObjectKey, true
	}
	return policy.ObjectKey{}, false
}

// address reads the 16 bytes of struct address. All zero is the address ::
// in an IPv6 packet, and none in a packet without IP addresses.
func address(raw [16]byte, etherType uint16) netip.Addr {
	if raw == [16]byte{} && etherType != etherIPv6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16(raw).Unmap()
}

const etherIPv6 = 0x86dd

// fromNetwork reads a field that the programs hold in network order and that
// Go has read in the machine's own.
func fromNetwork(v uint16) uint16 {
	if littleEndian() {
		return bits.ReverseBytes16(v)
	}
	return v
}

func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

// hasPorts: the fields of other protocols hold the identifier and type of an
// ICMP query, which are no ports.
func hasPorts(p policy.Protocol) bool {
	return p == policy.TCP || p == policy.UDP || p == policy.SCTP
}
