// SPDX-License-Identifier: Apache-2.0

package endpoint

import "net/netip"

// Event is what changed on the node, together.
type Event struct {
	Links []Link // new or changed
	Gone  []int  // indices of interfaces that are gone
	Hints []Hint
	// Node is set if anything of it changed, and in the first Event.
	Node *Node
	// Listed: this Event or an earlier one held all interfaces, with the
	// addresses inside them.
	Listed bool
}

// Hint is what stands on the other end of an interface.
type Hint struct {
	Index int // of the end on the node
	Addrs []netip.Addr
}

// Node is what the data path must know of the node itself.
type Node struct {
	// Addrs are those that the node takes for its own: of its interfaces, and
	// local, broadcast and anycast ones of the local routing table; link-local
	// ones too, those of loopback not. Sorted.
	Addrs []netip.Addr
	// Prefixes are local routes to more than one address, other than loopback
	// ("ip route add local 10.0.0.0/24"). Only single addresses can be told to
	// the data path, so these are to be reported.
	Prefixes []netip.Prefix
	// TunnelPorts are UDP ports (host order) on which the kernel takes off an
	// encapsulation: vxlan, geneve, bareudp and fou devices of this namespace.
	// Sorted. Those of fou are seen within half a minute, since they give no
	// notice. Not seen: devices that were made here and then moved to another
	// namespace, which keep their socket here, and L2TP.
	TunnelPorts []uint16
	Bridge      BridgeNetfilter
}

// BridgeNetfilter says whether bridged packets pass iptables and nftables.
// Without it a pod cannot reach, through a Service, a pod on the same bridge.
type BridgeNetfilter struct {
	Loaded, IPv4, IPv6 bool
	// Ports: some veth is a port of a bridge, so that it matters.
	Ports bool
}
