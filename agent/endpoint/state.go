// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// State of an endpoint. The zero State denies.
type State uint8

const (
	// NotReady: its pod or its policy is not known, or it is closed because of
	// a contradiction.
	NotReady State = iota
	// Unmanaged: no address of it is a pod's of this node. Nothing is attached.
	Unmanaged
	Enforced
	Audited
	// Unenforceable: its packets pass where weir cannot see them. Nothing is
	// attached, and no verdict is ever told.
	Unenforceable
)

// States lists all, in the order of output.
var States = [...]State{Enforced, Audited, NotReady, Unenforceable, Unmanaged}

func (s State) String() string {
	switch s {
	case Unmanaged:
		return "unmanaged"
	case Enforced:
		return "enforced"
	case Audited:
		return "audited"
	case Unenforceable:
		return "unenforceable"
	}
	return "notready"
}

// Link is an interface of the node.
type Link struct {
	Index int
	Name  string
	Kind  string // as the kernel names it: veth, netkit, ipvlan, ...
	// Elsewhere: the peer, or the device below, is in the network namespace
	// that this one knows as NetNS; there it has the index Peer.
	Elsewhere bool
	NetNS     int
	Peer      int
	// Functions is the number of SR-IOV virtual functions.
	Functions int
}

// Announcement tells of a pod before its first packet. It comes from the
// chained CNI plugin.
type Announcement struct {
	Pod   policy.ObjectKey
	UID   string
	Addrs []netip.Addr
	// Index of the host's side of the veth, resolved when the announcement
	// came: a name may stand for another interface a moment later.
	Index int
}

// Recovered is a binding that an earlier agent left in the maps. Pod and UID
// may be empty: the maps hold only addresses.
type Recovered struct {
	Index int
	Addrs []netip.Addr
	Pod   policy.ObjectKey
	UID   string
}

// Binding is what must be attached to one interface.
type Binding struct {
	Index int
	Name  string // of the interface
	// Pod is zero where it is not known or in dispute.
	Pod   policy.ObjectKey
	UID   string
	Addrs []netip.Addr // that it may send from; sorted
	// State is NotReady, Enforced or Audited.
	State State
	// Open: not ready, and may pass everything meanwhile. Else not ready denies.
	Open bool
	// Forwards: the pod may send what it did not originate.
	Forwards bool
}

func (b Binding) equal(o Binding) bool {
	return b.Index == o.Index && b.Name == o.Name && b.Pod == o.Pod && b.UID == o.UID &&
		b.State == o.State && b.Open == o.Open && b.Forwards == o.Forwards && slices.Equal(b.Addrs, o.Addrs)
}

// Changes lead from the bindings that were told before to those that must hold.
// Unbind comes first, then Bind in its order: an address leaves one interface
// before another gets it.
type Changes struct {
	Unbind []int // indices of interfaces
	Bind   []Binding
}

// Empty reports that nothing is to be done.
func (c Changes) Empty() bool { return len(c.Unbind) == 0 && len(c.Bind) == 0 }

// Endpoint is an interface, or a pod of this node without one, as it is shown.
type Endpoint struct {
	Index int    // 0: no interface is known
	Name  string // of the interface
	Pod   policy.ObjectKey
	UID   string
	Addrs []netip.Addr
	State State
	Why   string // for people; empty if all is well
}
