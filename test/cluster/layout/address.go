// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"net/netip"
)

// The network between the nodes is a bridge in the control plane's namespace.
// Its addresses are of 198.18.0.0/15, which RFC 2544 sets aside for tests
// between devices: they clash with no one's office or VPN.
const (
	ControlAddress  = "198.18.0.1"
	HostAddress     = "198.18.0.254" // of this machine, a client outside the cluster
	ControlAddress6 = "fd77:6569:7200::1"
	HostAddress6    = "fd77:6569:7200::fe"
	NetworkBits     = 24
	NetworkBits6    = 64
	APIPort         = 6443

	NodeLink    = "eth0"  // of a node
	ControlLink = "nodes" // the bridge

	// HostLink is the one link that stands in this machine's own namespace.
	HostLink = "weir-cluster"

	podRange       = "10.244.0.0/16"
	podRange6      = "fd77:6569:7210::/48"
	serviceRange   = "10.96.0.0/16"
	serviceRange6  = "fd77:6569:7220::/112"
	ServiceAddress = "10.96.0.1"  // of the API server, for pods
	DNSAddress     = "10.96.0.10" // of the cluster's DNS, where one is deployed
	Domain         = "cluster.local"
)

// PodRanges of the whole cluster, for kube-proxy and the controller manager.
func (s Settings) PodRanges() string { return s.join(podRange, podRange6) }

// ServiceRanges of the API server.
func (s Settings) ServiceRanges() string { return s.join(serviceRange, serviceRange6) }

func (s Settings) join(ipv4, ipv6 string) string {
	if s.DualStack() {
		return ipv4 + "," + ipv6
	}
	return ipv4
}

// Server is the API server's URL, from this machine and from the nodes.
func Server() string { return fmt.Sprintf("https://%s:%d", ControlAddress, APIPort) }

// Addresses of the node: IPv4, then IPv6 in a dual-stack cluster.
func (n Node) Addresses() []netip.Addr {
	list := []netip.Addr{netip.MustParseAddr(fmt.Sprintf("198.18.0.%d", 10+n.Index))}
	if n.Settings.DualStack() {
		list = append(list, netip.MustParseAddr(fmt.Sprintf("fd77:6569:7200::%d", 10+n.Index)))
	}
	return list
}

// PodRanges of the node, one for each family.
func (n Node) PodRanges() []netip.Prefix {
	list := []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", n.Index))}
	if n.Settings.DualStack() {
		list = append(list, netip.MustParsePrefix(fmt.Sprintf("fd77:6569:7210:%d::/64", n.Index)))
	}
	return list
}
