// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readNode brings Node up to date. Addresses give notice, devices come with
// their links, the rest is read when everything is.
func (r *Reader) readNode(e *Event, w *work) error {
	if !w.all && !w.node && len(w.links) == 0 {
		return nil
	}
	var n Node
	if r.node != nil {
		n = *r.node
	}
	if w.all || w.node {
		own, err := r.dump.own()
		if err != nil {
			return err
		}
		local, err := r.dump.localRoutes()
		if err != nil {
			return err
		}
		n.Addrs, n.Prefixes = nodeAddresses(own, local)
	}
	if w.all {
		var err error
		if r.fou, err = fouPorts(r.handle); err != nil {
			return err
		}
		n.Bridge = readBridge(r.proc)
	}
	n.TunnelPorts = r.tunnelPorts()
	n.Bridge.Ports = r.bridgePorts()
	if r.node == nil || !reflect.DeepEqual(n, *r.node) {
		r.node = &n
		e.Node = &n
	}
	return nil
}

func nodeAddresses(own []netip.Addr, local []netip.Prefix) (addrs []netip.Addr, prefixes []netip.Prefix) {
	add := func(a netip.Addr) {
		if a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() {
			addrs = append(addrs, a)
		}
	}
	for _, a := range own {
		add(a)
	}
	for _, p := range local {
		switch {
		case p.IsSingleIP():
			add(p.Addr())
		case !p.Addr().IsLoopback():
			prefixes = append(prefixes, p)
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	return sorted(addrs), slices.Compact(prefixes)
}

func (r *Reader) tunnelPorts() []uint16 {
	ports := slices.Clone(r.fou)
	for _, i := range r.interfaces {
		if i.tunnelPort != 0 {
			ports = append(ports, i.tunnelPort)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// fouPorts are those of fou sockets, which have no device.
func fouPorts(h *netlink.Handle) ([]uint16, error) {
	var ports []uint16
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := h.FouList(family)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil // the kernel has no fou
		}
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list fou ports: %w", err)
		}
		for _, f := range list {
			ports = append(ports, uint16(f.Port))
		}
	}
	return ports, nil
}

// bridgePorts: some veth is a port of a bridge.
func (r *Reader) bridgePorts() bool {
	for _, i := range r.interfaces {
		if i.Kind == vethKind && i.master != 0 && r.interfaces[i.master].Kind == "bridge" {
			return true
		}
	}
	return false
}

// readBridge reads the switches of br_netfilter; they are not there without
// the module.
func readBridge(proc string) BridgeNetfilter {
	on := func(name string) (value, there bool) {
		text, err := os.ReadFile(filepath.Join(proc, "sys/net/bridge", name))
		return strings.TrimSpace(string(text)) == "1", err == nil
	}
	var b BridgeNetfilter
	b.IPv4, b.Loaded = on("bridge-nf-call-iptables")
	b.IPv6, _ = on("bridge-nf-call-ip6tables")
	return b
}
