// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Wiring is how pods hang on the node.
type Wiring int

const (
	// Routed: each pod has a veth of its own with a host route, as ptp makes it.
	Routed Wiring = iota
	// Bridged: the host ends are ports of one bridge, as the bridge plugin
	// and kindnet's ancestors make it.
	Bridged
)

// Options of a Node. The zero value is a routed dual-stack node.
type Options struct {
	Wiring Wiring
	// PodPrefix4, PodPrefix6: pods' addresses; the first host is the gateway.
	// Defaults 10.244.1.0/24 and fd00:10:244:1::/64.
	PodPrefix4, PodPrefix6 netip.Prefix
}

// Node is a namespace that forwards for its pods, with an uplink to a host
// outside.
type Node struct {
	*Namespace
	Outside *Namespace
	Pods    []*Pod
	options Options
	bridge  netlink.Link
	far     *Namespace // nil unless AddFar was called
}

// Addresses of the node's uplink and of the host outside.
var (
	NodeAddr4    = netip.MustParseAddr("192.168.77.1")
	NodeAddr6    = netip.MustParseAddr("fd00:77::1")
	OutsideAddr4 = netip.MustParseAddr("192.168.77.2")
	OutsideAddr6 = netip.MustParseAddr("fd00:77::2")
)

// Pod is a namespace with one veth to the node.
type Pod struct {
	*Namespace
	Addrs   []netip.Addr
	Ifname  string // host end
	Ifindex int    // host end
	MAC     net.HardwareAddr
	HostMAC net.HardwareAddr
}

// NewNode makes a node and the host outside; name is at most 9 characters.
func NewNode(name string, options Options) (node *Node, err error) {
	if !options.PodPrefix4.IsValid() {
		options.PodPrefix4 = netip.MustParsePrefix("10.244.1.0/24")
	}
	if !options.PodPrefix6.IsValid() {
		options.PodPrefix6 = netip.MustParsePrefix("fd00:10:244:1::/64")
	}
	node = &Node{options: options}
	defer func() {
		if err != nil {
			err = errors.Join(err, node.Close())
		}
	}()
	if node.Namespace, err = NewNamespace(name + "-node"); err != nil {
		return node, err
	}
	if node.Outside, err = NewNamespace(name + "-out"); err != nil {
		return node, err
	}
	// sysctls of the namespace: it forwards, and accepts asymmetric routes.
	for path, value := range map[string]string{
		"net/ipv4/ip_forward":             "1",
		"net/ipv6/conf/all/forwarding":    "1",
		"net/ipv4/conf/all/rp_filter":     "0",
		"net/ipv4/conf/default/rp_filter": "0",
	} {
		if err = node.Sysctl(path, value); err != nil {
			return node, fmt.Errorf("sysctl %s: %w", path, err)
		}
	}
	if err = node.addUplink(); err != nil {
		return node, fmt.Errorf("uplink of %s: %w", name, err)
	}
	if options.Wiring == Bridged {
		err = node.addBridge()
	}
	return node, err
}

// Gateway4 and Gateway6 are the pods' gateways.
func (n *Node) Gateway4() netip.Addr { return n.options.PodPrefix4.Addr().Next() }

// Gateway6 is the IPv6 gateway of the pods.
func (n *Node) Gateway6() netip.Addr { return n.options.PodPrefix6.Addr().Next() }

func (n *Node) addUplink() error {
	_, _, err := pair(n.Namespace, "uplink", n.Outside, "eth0")
	if err != nil {
		return err
	}
	if err := addAddrs(n.Namespace, "uplink", netip.PrefixFrom(NodeAddr4, 24), netip.PrefixFrom(NodeAddr6, 64)); err != nil {
		return err
	}
	if err := addAddrs(n.Outside, "eth0", netip.PrefixFrom(OutsideAddr4, 24), netip.PrefixFrom(OutsideAddr6, 64)); err != nil {
		return err
	}
	out, err := n.Outside.Link.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, r := range []struct {
		to  netip.Prefix
		via netip.Addr
	}{{n.options.PodPrefix4, NodeAddr4}, {n.options.PodPrefix6, NodeAddr6}} {
		route := &netlink.Route{LinkIndex: out.Attrs().Index, Dst: ipnet(r.to), Gw: r.via.AsSlice()}
		if err := n.Outside.Link.RouteReplace(route); err != nil {
			return fmt.Errorf("route %s: %w", r.to, err)
		}
	}
	return nil
}

// AddFar puts a host behind Outside, which routes to it: IPv4 addresses are of a
// /24 and IPv6 ones of a /64 whose first address is Outside's. The link between
// them is cut to mtu bytes on Outside's end alone, so that the far host does not
// know of it.
func (n *Node) AddFar(mtu int, addrs ...netip.Addr) (*Namespace, error) {
	far, err := NewNamespace(strings.TrimSuffix(n.Name, "-node") + "-far")
	if err != nil {
		return nil, err
	}
	n.far = far
	near, _, err := pair(n.Outside, "far", far, "eth0")
	if err != nil {
		return nil, err
	}
	if err := n.Outside.Link.LinkSetMTU(near, mtu); err != nil {
		return nil, fmt.Errorf("mtu %d: %w", mtu, err)
	}
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := n.Outside.Sysctl(path, "1"); err != nil {
			return nil, fmt.Errorf("sysctl %s: %w", path, err)
		}
	}
	for _, a := range addrs {
		prefix, here := netip.PrefixFrom(a, 24), OutsideAddr4
		if a.Is6() {
			prefix, here = netip.PrefixFrom(a, 64), OutsideAddr6
		}
		gateway := prefix.Masked().Addr().Next()
		if err := addAddrs(far, "eth0", prefix); err != nil {
			return nil, err
		}
		if err := addAddrs(n.Outside, "far", netip.PrefixFrom(gateway, prefix.Bits())); err != nil {
			return nil, err
		}
		if err := far.Link.RouteReplace(&netlink.Route{Dst: anywhere(a), Gw: gateway.AsSlice()}); err != nil {
			return nil, fmt.Errorf("route of the far host: %w", err)
		}
		if err := n.Link.RouteReplace(&netlink.Route{Dst: ipnet(prefix.Masked()), Gw: here.AsSlice()}); err != nil {
			return nil, fmt.Errorf("route to the far host: %w", err)
		}
	}
	return far, nil
}

func (n *Node) addBridge() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}}
	if err := n.Link.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	n.bridge = bridge
	if err := n.Link.LinkSetUp(bridge); err != nil {
		return err
	}
	return addAddrs(n.Namespace, "cni0",
		netip.PrefixFrom(n.Gateway4(), n.options.PodPrefix4.Bits()),
		netip.PrefixFrom(n.Gateway6(), n.options.PodPrefix6.Bits()))
}

// Close removes the pods, the node and the host outside.
func (n *Node) Close() error {
	var errs []error
	for _, p := range n.Pods {
		errs = append(errs, p.Close())
	}
	n.Pods = nil
	for _, ns := range []*Namespace{n.far, n.Outside, n.Namespace} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}

// pair makes a veth from ifname in a to peername in b, both up.
func pair(a *Namespace, ifname string, b *Namespace, peername string) (netlink.Link, netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = ifname
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peername, PeerNamespace: netlink.NsFd(int(b.handle))}
	if err := a.Link.LinkAdd(veth); err != nil {
		return nil, nil, fmt.Errorf("add veth %s: %w", ifname, err)
	}
	host, err := a.Link.LinkByName(ifname)
	if err != nil {
		return nil, nil, err
	}
	inner, err := b.Link.LinkByName(peername)
	if err != nil {
		return nil, nil, err
	}
	if err := a.Link.LinkSetUp(host); err != nil {
		return nil, nil, err
	}
	return host, inner, b.Link.LinkSetUp(inner)
}

func addAddrs(ns *Namespace, ifname string, prefixes ...netip.Prefix) error {
	link, err := ns.Link.LinkByName(ifname)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := ns.Link.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s on %s: %w", p, ifname, err)
		}
	}
	return nil
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
