// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/bpf"
)

// Hook is one of the two places at a host veth.
type Hook uint8

const (
	FromPod Hook = iota // TC ingress of the host veth: what the pod sends
	ToPod               // TC egress of the host veth: what the pod receives
)

// hooks lists both, in the order of attaching: a pod that is watched in one
// direction only must not be one that can send unwatched.
var hooks = [...]Hook{FromPod, ToPod}

// String is the program's name in the object.
func (h Hook) String() string {
	switch h {
	case FromPod:
		return bpf.WeirProgFromPod
	case ToPod:
		return bpf.WeirProgToPod
	}
	return fmt.Sprintf("hook %d", uint8(h))
}

func (h Hook) tcx() ebpf.AttachType {
	if h == ToPod {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

func (h Hook) parent() uint32 {
	if h == ToPod {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// programPair is a program twice: a TCX hook refuses the same program in two
// places, and moving to the front needs it in the new place before it leaves
// the old one. The second is loaded when it is first needed.
type programPair struct {
	main  *ebpf.Program
	spare func() (*ebpf.Program, error)
}

// attacher puts programs on hooks. Attach makes the program weir's only one on
// the hook, and the first of all where it can: what is there already is
// replaced in place, and moved if others stand before it. At no instant is the
// hook without one.
type attacher interface {
	Attach(ifindex int, hook Hook, program programPair) error
	// Detach is no error where nothing is attached or the link is gone.
	Detach(ifindex int, hook Hook) error
	// Position of weir on the hook; seen is nil where qdiscs were not listed.
	Position(ifindex int, hook Hook, seen qdiscs) (Position, error)
}

// positionOn is Position for who looks at one interface.
func positionOn(a attacher, ifindex int, hook Hook) (Position, error) {
	return a.Position(ifindex, hook, nil)
}

// Position of weir's program on one hook.
type Position struct {
	Hook     Hook
	Attached bool
	Program  ebpf.ProgramID // weir's; 0 if not attached
	// Ahead run before weir: what they end or redirect, weir never sees.
	Ahead []Neighbour
	// Behind run after weir, for what weir lets pass.
	Behind []Neighbour
}

// First reports whether weir is attached, and nothing runs before it.
func (p Position) First() bool { return p.Attached && len(p.Ahead) == 0 }

// Neighbour is somebody else's program or filter on the same hook.
type Neighbour struct {
	Kind     string         // "tcx", or the kind of the filter: "bpf", "u32", ...
	Name     string         // of the program, if the kernel tells
	Program  ebpf.ProgramID // 0 for filters that are no programs
	Priority uint16         // of a filter
}

func (n Neighbour) String() string {
	var b strings.Builder
	b.WriteString(n.Kind)
	if n.Name != "" {
		fmt.Fprintf(&b, " %s", n.Name)
	}
	if n.Program != 0 {
		fmt.Fprintf(&b, " (program %d)", n.Program)
	}
	if n.Priority != 0 {
		fmt.Fprintf(&b, " at priority %d", n.Priority)
	}
	return b.String()
}
