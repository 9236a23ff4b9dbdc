// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// AddPod makes a pod with the given addresses, wired as the node's pods are.
// name is at most 11 characters and appears in the interface's name.
func (n *Node) AddPod(name string, addrs ...netip.Addr) (*Pod, error) {
	ns, err := NewNamespace(strings.TrimSuffix(n.Name, "-node") + "-" + name)
	if err != nil {
		return nil, err
	}
	pod := &Pod{Namespace: ns, Addrs: addrs, Ifname: "veth" + name}
	n.Pods = append(n.Pods, pod)
	host, inner, err := pair(n.Namespace, pod.Ifname, ns, "eth0")
	if err != nil {
		return nil, err
	}
	pod.Ifindex, pod.MAC, pod.HostMAC = host.Attrs().Index, inner.Attrs().HardwareAddr, host.Attrs().HardwareAddr
	if n.options.Wiring == Bridged {
		err = n.wireBridged(pod, host)
	} else {
		err = n.wireRouted(pod, host)
	}
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	return pod, nil
}

// RemovePod takes a pod away as a CNI does at its end.
func (n *Node) RemovePod(pod *Pod) error {
	for i, p := range n.Pods {
		if p == pod {
			n.Pods = append(n.Pods[:i], n.Pods[i+1:]...)
			break
		}
	}
	// The veth goes at once; the namespace may live on for as long as a
	// socket of it is open.
	if link, err := n.Link.LinkByIndex(pod.Ifindex); err == nil {
		if err := n.Link.LinkDel(link); err != nil {
			return fmt.Errorf("remove %s: %w", pod.Ifname, err)
		}
	}
	return pod.Close()
}

// wireBridged: the host end is a port of the bridge, the subnet is on-link.
func (n *Node) wireBridged(pod *Pod, host netlink.Link) error {
	if err := n.Link.LinkSetMaster(host, n.bridge); err != nil {
		return err
	}
	for _, a := range pod.Addrs {
		prefix, gateway := n.subnet(a)
		if err := addAddrs(pod.Namespace, "eth0", netip.PrefixFrom(a, prefix.Bits())); err != nil {
			return err
		}
		if err := pod.addRoute(&netlink.Route{Dst: anywhere(a), Gw: gateway.AsSlice()}); err != nil {
			return err
		}
	}
	return nil
}

// wireRouted: the gateway is on each host end, and everything goes there.
func (n *Node) wireRouted(pod *Pod, host netlink.Link) error {
	for _, a := range pod.Addrs {
		_, gateway := n.subnet(a)
		full := a.BitLen()
		if err := addAddrs(n.Namespace, pod.Ifname, netip.PrefixFrom(gateway, full)); err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: host.Attrs().Index, Dst: ipnet(netip.PrefixFrom(a, full)), Scope: netlink.SCOPE_LINK}
		if a.Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := n.Link.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s: %w", a, err)
		}
		if err := addAddrs(pod.Namespace, "eth0", netip.PrefixFrom(a, full)); err != nil {
			return err
		}
		toGateway := &netlink.Route{Dst: ipnet(netip.PrefixFrom(gateway, full)), Scope: netlink.SCOPE_LINK}
		if a.Is6() {
			toGateway.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := pod.addRoute(toGateway); err != nil {
			return err
		}
		if err := pod.addRoute(&netlink.Route{Dst: anywhere(a), Gw: gateway.AsSlice()}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) subnet(a netip.Addr) (netip.Prefix, netip.Addr) {
	if a.Is4() {
		return n.options.PodPrefix4, n.Gateway4()
	}
	return n.options.PodPrefix6, n.Gateway6()
}

func (p *Pod) addRoute(route *netlink.Route) error {
	link, err := p.Link.LinkByName("eth0")
	if err != nil {
		return err
	}
	route.LinkIndex = link.Attrs().Index
	if err := p.Link.RouteReplace(route); err != nil {
		return fmt.Errorf("route %v: %w", route.Dst, err)
	}
	return nil
}

func anywhere(a netip.Addr) *net.IPNet {
	bits := a.BitLen()
	return &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
}
