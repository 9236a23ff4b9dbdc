// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// pod is a pod as it was last told.
type pod struct {
	object    *policy.Pod
	addresses []*address
	// profile is nil for a pod that is nobody's peer.
	profile *profile
	slot    int // index in profile.pods
}

func (e *Engine) setPod(object *policy.Pod, d *Delta) {
	p := e.pods[object.ObjectKey]
	if p != nil && samePod(p.object, object) {
		p.object = object
		return
	}
	if p == nil {
		p = &pod{}
		e.pods[object.ObjectKey] = p
	} else {
		e.leave(p)
	}
	p.object = object
	e.join(p)
	if object.Node == e.node && !object.HostNetwork && !object.Terminal {
		e.setSubject(p)
	} else {
		e.deleteSubject(object.ObjectKey, d)
	}
}

func (e *Engine) deletePod(key policy.ObjectKey, d *Delta) {
	p := e.pods[key]
	if p == nil {
		return
	}
	e.leave(p)
	delete(e.pods, key)
	e.deleteSubject(key, d)
}

// join makes p the holder of its addresses.
func (e *Engine) join(p *pod) {
	// A link-local address is the same on every link, so it is nobody's: only
	// blocks inside fe80::/10 speak of it.
	ips := slices.DeleteFunc(cleanAddrs(p.object.IPs), linkLocal.Contains)
	if p.object.Terminal || p.object.HostNetwork || len(ips) == 0 {
		return
	}
	e.joinProfile(p)
	p.addresses = make([]*address, len(ips))
	for i, ip := range ips {
		a := e.address(ip)
		a.holders = append(a.holders, p)
		p.addresses[i] = a
	}
}

func (e *Engine) leave(p *pod) {
	for _, a := range p.addresses {
		i := slices.Index(a.holders, p)
		a.holders = slices.Delete(a.holders, i, i+1)
		e.markAddress(a)
	}
	p.addresses = nil
	if p.profile != nil {
		e.leaveProfile(p)
		p.profile = nil
	}
}

// cleanAddrs returns the distinct valid addresses in their plain form: IPv4 is
// never mapped into IPv6, and no zone is kept.
func cleanAddrs(addrs []netip.Addr) []netip.Addr {
	var clean []netip.Addr
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		if addr.IsValid() && !slices.Contains(clean, addr) {
			clean = append(clean, addr)
		}
	}
	return clean
}
