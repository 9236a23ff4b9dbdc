// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// hostVeth is the name of the host's end of the pod's interface. The kernel is
// asked and not the result: plugins list the interfaces in different orders,
// and some leave the host's end out.
func hostVeth(netnsPath, ifname string) (string, error) {
	space, err := netns.GetFromPath(netnsPath)
	if err != nil {
		return "", fmt.Errorf("network namespace %s: %w", netnsPath, err)
	}
	defer space.Close()
	inside, err := netlink.NewHandleAt(space)
	if err != nil {
		return "", fmt.Errorf("network namespace %s: %w", netnsPath, err)
	}
	defer inside.Close()
	inner, err := inside.LinkByName(ifname)
	if err != nil {
		return "", fmt.Errorf("interface %s of the pod: %w", ifname, err)
	}
	if inner.Type() != "veth" {
		return "", fmt.Errorf("interface %s of the pod is a %s, and weir can only enforce at a veth", ifname, inner.Type())
	}
	outer, err := netlink.LinkByIndex(inner.Attrs().ParentIndex)
	if err != nil {
		return "", fmt.Errorf("peer %d of the pod's %s: %w", inner.Attrs().ParentIndex, ifname, err)
	}
	// Indices are of a namespace: the same number may be another device here
	// if the peer is in a third one.
	id, err := netlink.GetNetNsIdByFd(int(space))
	if err != nil {
		return "", fmt.Errorf("id of network namespace %s: %w", netnsPath, err)
	}
	if outer.Type() != "veth" || outer.Attrs().ParentIndex != inner.Attrs().Index || outer.Attrs().NetNsID != id {
		return "", fmt.Errorf("the peer of the pod's %s is not in the node's network namespace", ifname)
	}
	return outer.Attrs().Name, nil
}
