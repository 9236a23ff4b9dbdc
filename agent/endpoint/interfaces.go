// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// The library looks for the byte order at its first use and keeps it without a
// lock: here, before several goroutines use it at once.
var _ = nl.NativeEndian()

// iface is a Link with what else the reader keeps of it.
type iface struct {
	Link
	tunnelPort uint16 // UDP; 0: none
	master     int    // index; 0: none
}

func ifaceOf(l netlink.Link) iface {
	a := l.Attrs()
	out := iface{master: a.MasterIndex}
	out.Link = Link{Index: a.Index, Name: a.Name, Kind: l.Type(), Functions: len(a.Vfs)}
	if a.NetNsID >= 0 {
		out.Elsewhere, out.NetNS, out.Peer = true, a.NetNsID, a.ParentIndex
	}
	switch t := l.(type) {
	case *netlink.Vxlan:
		out.tunnelPort = uint16(t.Port)
	case *netlink.Geneve:
		out.tunnelPort = t.Dport
	case *netlink.BareUDP:
		out.tunnelPort = t.Port
	}
	return out
}

// listInterfaces asks for all.
func listInterfaces(h *netlink.Handle) (map[int]iface, error) {
	for try := 1; ; try++ {
		links, err := h.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) && try < dumpTries {
			continue
		}
		// What an interrupted dump lacks comes as a notice.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		out := make(map[int]iface, len(links))
		for _, l := range links {
			out[l.Attrs().Index] = ifaceOf(l)
		}
		return out, nil
	}
}

// readInterface asks for one; found is false if it is gone.
func readInterface(h *netlink.Handle, index int) (i iface, found bool, err error) {
	l, err := h.LinkByIndex(index)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return iface{}, false, nil
	}
	if err != nil {
		return iface{}, false, fmt.Errorf("interface %d: %w", index, err)
	}
	return ifaceOf(l), true, nil
}

// LinkByName is the interface that has this name now, for an announcement.
func LinkByName(name string) (Link, error) {
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return Link{}, fmt.Errorf("there is no interface %s on this node: name the host's side of the pod's veth", name)
	}
	if err != nil {
		return Link{}, fmt.Errorf("interface %s: %w", name, err)
	}
	return ifaceOf(l).Link, nil
}
