// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/cluster/layout"
)

// space is a network namespace, by a process that lives in it.
type space struct {
	*netlink.Handle
	ns netns.NsHandle
}

func openSpace(pid int) (*space, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("netlink in the namespace of process %d: %w", pid, err)
	}
	return &space{Handle: handle, ns: ns}, nil
}

func (s *space) close() {
	s.Close()
	s.ns.Close()
}

// remove a link, which may be on its way out already.
func (s *space) remove(name string) error {
	link, err := s.LinkByName(name)
	if err == nil {
		err = s.LinkDel(link)
	}
	if err == nil || errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove link %s: %w", name, err)
}

// start a link with addresses.
func (s *space) start(name string, addresses ...netip.Prefix) error {
	link, err := s.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	for _, a := range addresses {
		address := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := s.AddrAdd(link, address); err != nil {
			return fmt.Errorf("address %s on %s: %w", a, name, err)
		}
	}
	if err := s.LinkSetUp(link); err != nil {
		return fmt.Errorf("start link %s: %w", name, err)
	}
	return nil
}

// route to a range; an invalid prefix is the default route of the family.
func (s *space) route(to netip.Prefix, via netip.Addr) error {
	if err := s.RouteReplace(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route to %s via %s: %w", to, via, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// onNetwork is an address of the nodes' network with its mask.
func onNetwork(address netip.Addr) netip.Prefix {
	if address.Is4() {
		return netip.PrefixFrom(address, layout.NetworkBits)
	}
	return netip.PrefixFrom(address, layout.NetworkBits6)
}

var (
	control  = []netip.Addr{netip.MustParseAddr(layout.ControlAddress), netip.MustParseAddr(layout.ControlAddress6)}
	host     = []netip.Addr{netip.MustParseAddr(layout.HostAddress), netip.MustParseAddr(layout.HostAddress6)}
	defaults = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

// connectControl makes the bridge, and this machine's link to it.
func connectControl(plane *space, dual bool) error {
	if err := checkFree(); err != nil {
		return err
	}
	if err := plane.start("lo"); err != nil {
		return err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: layout.ControlLink}}
	if err := plane.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge of the nodes: %w", err)
	}
	families := 1
	if dual {
		families = 2
	}
	var own, outside []netip.Prefix
	for i := range families {
		own, outside = append(own, onNetwork(control[i])), append(outside, onNetwork(host[i]))
	}
	if err := plane.start(layout.ControlLink, own...); err != nil {
		return err
	}
	if err := addPort(plane, "host", layout.HostLink, netlink.NsPid(unix.Getpid())); err != nil {
		return err
	}
	here, err := openSpace(unix.Getpid())
	if err != nil {
		return err
	}
	defer here.close()
	return here.start(layout.HostLink, outside...)
}

// checkFree refuses a network that this machine already reaches in some other
// way than by its default route.
func checkFree() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ones, _ := r.Dst.Mask.Size(); ones > 0 && r.Dst.Contains(net.ParseIP(layout.ControlAddress)) {
			return fmt.Errorf("this machine has a route to %s, which the cluster would use; remove it first", r.Dst)
		}
	}
	return nil
}

// addPort makes a veth between the bridge and another namespace.
func addPort(plane *space, port, peer string, where any) error {
	bridge, err := plane.LinkByName(layout.ControlLink)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index},
		PeerName:  peer, PeerNamespace: where,
	}
	if err := plane.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s to the nodes' network: %w", peer, err)
	}
	return plane.start(port)
}

// connectNode gives a node its link, and everyone the routes to its pods.
func connectNode(plane *space, n layout.Node, node *space, others map[layout.Node]*space) error {
	if err := node.start("lo"); err != nil {
		return err
	}
	if err := addPort(plane, n.Port(), layout.NodeLink, netlink.NsFd(int(node.ns))); err != nil {
		return err
	}
	var own []netip.Prefix
	for _, a := range n.Addresses() {
		own = append(own, onNetwork(a))
	}
	if err := node.start(layout.NodeLink, own...); err != nil {
		return err
	}
	for i, address := range n.Addresses() {
		pods := n.PodRanges()[i]
		errs := []error{node.route(defaults[i], control[i]), plane.route(pods, address)}
		for other, there := range others {
			errs = append(errs, there.route(pods, address), node.route(other.PodRanges()[i], other.Addresses()[i]))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("node %s: %w", n.Name(), err)
		}
	}
	return nil
}

// removeHostLink, which also goes by itself some time after the bridge's
// namespace.
func removeHostLink() error {
	link, err := netlink.LinkByName(layout.HostLink)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", layout.HostLink, err)
	}
	return nil
}
