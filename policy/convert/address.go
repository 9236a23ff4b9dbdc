// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"net/netip"
	"slices"

	netutils "k8s.io/utils/net"
)

// v4MappedBits is the length of ::ffff:0:0/96, which holds IPv4 within IPv6.
const v4MappedBits = 96

// prefix reads a CIDR as the API server does. Leading zeros are decimal:
// 010.0.0.0/8 is 10.0.0.0/8, where Go's own parser gives an error and C's
// would read octal. Host bits are masked off. IPv4 written as IPv6 is IPv4, as
// it is to the API server when it compares excepts: ::ffff:10.0.0.0/104 is
// 10.0.0.0/8. A prefix shorter than /96 stays IPv6, and so matches no IPv4
// address, even if it covers ::ffff:0:0/96.
func prefix(text string) (netip.Prefix, error) {
	_, ipnet, err := netutils.ParseCIDRSloppy(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR such as 10.0.0.0/8 or 2001:db8::/32", text)
	}
	addr, ok := netip.AddrFromSlice(ipnet.IP)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%q has no address of 4 or 16 bytes", text)
	}
	bits, _ := ipnet.Mask.Size()
	if addr.Is4In6() && bits >= v4MappedBits {
		addr, bits = addr.Unmap(), bits-v4MappedBits
	}
	return netip.PrefixFrom(addr, bits), nil
}

// address reads an address as the API server does, unmapped.
func address(text string) (netip.Addr, error) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	if !ok {
		return netip.Addr{}, fmt.Errorf("%q is not an address such as 10.0.0.1 or 2001:db8::1", text)
	}
	return addr.Unmap(), nil
}

// unicast refuses addresses that cannot lead to one pod or Service from
// elsewhere, so that a wrong status.podIPs never gives a class to, say, every
// link-local neighbour with that address.
func unicast(text string) (netip.Addr, error) {
	addr, err := address(text)
	if err != nil {
		return netip.Addr{}, err
	}
	linkLocal := addr.Is6() && addr.IsLinkLocalUnicast()
	if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || linkLocal {
		return netip.Addr{}, fmt.Errorf("%q is not a unicast address that others can reach", text)
	}
	return addr, nil
}

// addresses collects distinct addresses in the order given, and problems.
type addresses struct {
	list     []netip.Addr
	problems []string
}

func (a *addresses) add(field, text string) {
	addr, err := unicast(text)
	if err != nil {
		a.problems = append(a.problems, fmt.Sprintf("%s: %v", field, err))
		return
	}
	if !slices.Contains(a.list, addr) {
		a.list = append(a.list, addr)
	}
}
