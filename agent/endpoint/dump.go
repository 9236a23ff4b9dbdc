// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumper asks rtnetlink what the library does not: what is in another
// namespace, and one routing table alone.
type dumper struct {
	socket *nl.NetlinkSocket
	byKind map[int]*nl.SocketHandle
}

func newDumper() (*dumper, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	// Without strict checks the kernel ignores IFA_TARGET_NETNSID and answers
	// with this namespace's addresses, which would pass for the pod's.
	if err := unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		s.Close()
		return nil, fmt.Errorf("strict netlink requests (kernel 4.20): %w", err)
	}
	if err := errors.Join(s.SetSendTimeout(&nl.SocketTimeoutTv), s.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink timeouts: %w", err)
	}
	return &dumper{socket: s, byKind: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (d *dumper) close() { d.socket.Close() }

// dumpTries is how often a dump that a change interrupted is repeated.
const dumpTries = 5

func (d *dumper) execute(request uint16, answer uint16, data ...nl.NetlinkRequestData) ([][]byte, error) {
	for try := 1; ; try++ {
		req := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
		req.Sockets = d.byKind
		for _, part := range data {
			req.AddData(part)
		}
		out, err := req.Execute(unix.NETLINK_ROUTE, answer)
		if errors.Is(err, nl.ErrDumpInterrupted) && try < dumpTries {
			continue
		}
		return out, err
	}
}

// inside are the addresses on the interface with an index in the namespace
// with an id.
func (d *dumper) inside(netns, index int) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		ask := nl.NewIfAddrmsg(family)
		ask.Index = uint32(index)
		answers, err := d.execute(unix.RTM_GETADDR, unix.RTM_NEWADDR, ask, nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(netns))))
		if err != nil {
			return nil, fmt.Errorf("addresses of interface %d in namespace id %d: %w", index, netns, err)
		}
		for _, m := range answers {
			a, err := parseAddress(m)
			if err != nil {
				return nil, err
			}
			// An answer without the id is of this namespace.
			if a.local.IsValid() && a.netns == netns && a.index == index {
				out = append(out, a.local)
			}
		}
	}
	return sorted(out), nil
}

// own are the addresses of this namespace's interfaces, with their broadcasts.
func (d *dumper) own() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		answers, err := d.execute(unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(family))
		if err != nil {
			return nil, fmt.Errorf("addresses of the node: %w", err)
		}
		for _, m := range answers {
			a, err := parseAddress(m)
			if err != nil {
				return nil, err
			}
			out = append(out, a.local, a.broadcast)
		}
	}
	return out, nil
}

// localRoutes are the destinations in the local routing table that this node
// takes for itself.
func (d *dumper) localRoutes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		ask := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Table: unix.RT_TABLE_LOCAL}}
		answers, err := d.execute(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, ask)
		if errors.Is(err, unix.ENOENT) {
			continue // no such table: nothing was ever set
		}
		if err != nil {
			return nil, fmt.Errorf("local routes: %w", err)
		}
		for _, m := range answers {
			p, err := parseLocalRoute(m)
			if err != nil {
				return nil, err
			}
			if p.IsValid() {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// address is one answer to RTM_GETADDR.
type address struct {
	index            int
	netns            int // -1: this one
	local, broadcast netip.Addr
}

func parseAddress(m []byte) (address, error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return address{}, fmt.Errorf("an address message of %d bytes is too short", len(m))
	}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address{}, fmt.Errorf("address message: %w", err)
	}
	out := address{index: int(binary.NativeEndian.Uint32(m[4:8])), netns: -1}
	var far netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			out.local = addrFrom(a.Value)
		case unix.IFA_ADDRESS:
			far = addrFrom(a.Value)
		case unix.IFA_BROADCAST:
			out.broadcast = addrFrom(a.Value)
		case unix.IFA_TARGET_NETNSID:
			if len(a.Value) >= 4 {
				out.netns = int(int32(binary.NativeEndian.Uint32(a.Value)))
			}
		}
	}
	// IFA_ADDRESS is the other end of a point-to-point link, and the address
	// itself where there is no IFA_LOCAL.
	if !out.local.IsValid() {
		out.local = far
	}
	return out, nil
}

func addrFrom(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseLocalRoute gives the zero Prefix for routes that lead away.
func parseLocalRoute(m []byte) (netip.Prefix, error) {
	if len(m) < unix.SizeofRtMsg {
		return netip.Prefix{}, fmt.Errorf("a route message of %d bytes is too short", len(m))
	}
	family, bits, table, kind := m[0], int(m[1]), uint32(m[4]), m[7]
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("route message: %w", err)
	}
	dst := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			dst = addrFrom(a.Value)
		case unix.RTA_TABLE:
			if len(a.Value) >= 4 {
				table = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	ours := kind == unix.RTN_LOCAL || kind == unix.RTN_BROADCAST || kind == unix.RTN_ANYCAST
	if table != unix.RT_TABLE_LOCAL || !ours {
		return netip.Prefix{}, nil
	}
	return netip.PrefixFrom(dst, bits).Masked(), nil
}
