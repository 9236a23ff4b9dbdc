// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/policy"
)

// vethKind is the only kind of interface at which the programs see both
// directions of a pod's traffic.
const vethKind = "veth"

// ready: both full lists are there, so that what is missing is missing.
func (t *Tracker) ready() bool { return t.synced && t.listed }

// settle brings bindings, owners and disputes up to the present facts.
func (t *Tracker) settle() {
	if t.ready() {
		t.identify()
		t.releaseNameless()
		t.releaseDoubtful()
	}
	t.own()
	if t.ready() {
		t.claim()
		t.own()
	}
}

// inOrder lists the devices by the age of their binding, then by index.
func (t *Tracker) inOrder() []*device {
	age := func(d *device) uint64 {
		if d.bound == nil {
			return ^uint64(0)
		}
		return d.bound.order
	}
	return slices.SortedFunc(maps.Values(t.devices), func(a, b *device) int {
		return cmp.Or(cmp.Compare(age(a), age(b)), cmp.Compare(a.link.Index, b.link.Index))
	})
}

// live is the pod of a binding if it is there and has not ended.
func (t *Tracker) live(b *bound) *knownPod {
	p := t.pods[b.pod]
	if p == nil || p.Terminal || p.UID != b.uid {
		return nil
	}
	return p
}

// identify finds the pods of bindings that were recovered without a name: the
// maps hold addresses alone.
func (t *Tracker) identify() {
	for _, d := range t.inOrder() {
		b := d.bound
		if b == nil || b.pod != (policy.ObjectKey{}) {
			continue
		}
		if pods := t.podsWith(b.addrs); len(pods) == 1 && t.holder(pods[0], d) == nil {
			b.pod, b.uid = pods[0].ObjectKey, pods[0].UID
		} else {
			d.release()
		}
	}
}

// releaseNameless ends bindings to pods without a UID that are gone. Manifests
// from a directory need not have one, and an address is then all that tells
// two pods apart; with a UID the interface stays closed, since its address may
// belong to a new pod elsewhere.
func (t *Tracker) releaseNameless() {
	for _, d := range t.devices {
		b := d.bound
		if b == nil || b.uid != "" || b.origin == byAnnouncement {
			continue
		}
		if p := t.pods[b.pod]; p == nil || p.UID != "" {
			d.release()
		}
	}
}

// releaseDoubtful ends bindings that turn out to be another pod's: the one that
// the hint named is gone, or another has its address as well. An address is
// free for the next pod as soon as its interface is gone, and the object of
// the pod before may outlive that.
func (t *Tracker) releaseDoubtful() {
	for _, d := range t.devices {
		b := d.bound
		if b == nil || !b.doubtful {
			continue
		}
		another := func(p *knownPod) bool { return p.ObjectKey != b.pod || p.UID != b.uid }
		if t.over(b) || slices.ContainsFunc(t.podsWith(b.addrs), another) {
			d.release()
		}
	}
}

// podsWith are the live pods that have one of the addresses, sorted by name.
func (t *Tracker) podsWith(addrs []netip.Addr) []*knownPod {
	var out []*knownPod
	for _, p := range t.pods {
		if !p.Terminal && meet(sorted(p.IPs), addrs) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *knownPod) int { return cmp.Compare(show(a.ObjectKey), show(b.ObjectKey)) })
	return out
}

// holder is another device that is bound to the pod.
func (t *Tracker) holder(p *knownPod, except *device) *device {
	for _, d := range t.devices {
		if d != except && d.bound != nil && d.bound.pod == p.ObjectKey && d.bound.uid == p.UID {
			return d
		}
	}
	return nil
}

// over: the binding's pod was there and is no more.
func (t *Tracker) over(b *bound) bool {
	p := t.pods[b.pod]
	if p != nil && p.UID == b.uid {
		return p.Terminal
	}
	return b.seen && t.ready()
}

// wanted are the addresses that a binding gives its pod.
func (t *Tracker) wanted(b *bound) []netip.Addr {
	p := t.live(b)
	switch {
	case t.over(b):
		return nil // another may have the address by now
	case p == nil || len(p.IPs) == 0:
		return b.addrs
	}
	status := sorted(p.IPs)
	if b.origin == byAnnouncement && slices.Equal(status, b.status) {
		return b.addrs
	}
	return status
}

// own gives each address to one device. One that has it keeps it while it
// wants it; else the older binding gets it. A device that does not get all
// that it wants is closed.
func (t *Tracker) own() {
	wants := make(map[*device][]netip.Addr)
	owners := make(map[netip.Addr]int)
	var devices []*device
	for _, d := range t.inOrder() {
		if d.bound == nil {
			continue
		}
		d.dispute = ""
		devices = append(devices, d)
		wants[d] = t.wanted(d.bound)
		for _, a := range wants[d] {
			if t.owners[a] == d.link.Index {
				owners[a] = d.link.Index
			}
		}
	}
	for _, d := range devices {
		for _, a := range wants[d] {
			if owners[a] == 0 {
				owners[a] = d.link.Index
			} else if owners[a] != d.link.Index {
				d.dispute = fmt.Sprintf("address %s is bound to %s", a, t.named(owners[a]))
			}
		}
		d.bound.keep(wants[d], t.live(d.bound) != nil)
	}
	t.owners = owners
}

// keep notes what the present status says, for the time when it says nothing.
func (b *bound) keep(addrs []netip.Addr, live bool) {
	if live {
		b.seen = true
		if b.origin != byAnnouncement {
			b.addrs = addrs
		}
	}
}

// named is an interface with its pod, for people.
func (t *Tracker) named(index int) string {
	d := t.devices[index]
	if d == nil {
		return fmt.Sprintf("interface %d", index)
	}
	if d.bound == nil || d.bound.pod == (policy.ObjectKey{}) {
		return d.link.Name
	}
	return fmt.Sprintf("%s of pod %s", d.link.Name, show(d.bound.pod))
}

// candidates are the pods that the hints of a device name. The first look that
// names any decides.
func (t *Tracker) candidates(d *device) []*knownPod {
	for _, look := range d.hints {
		if pods := t.podsWith(look); len(pods) > 0 {
			return pods
		}
	}
	return nil
}

// claim binds devices by their hints, where nothing speaks against it.
func (t *Tracker) claim() {
	claims := make(map[*device]*knownPod)
	claimants := make(map[policy.ObjectKey][]*device)
	for _, d := range t.inOrder() {
		if d.bound != nil {
			continue
		}
		d.dispute = ""
		if d.link.Kind != vethKind || !d.link.Elsewhere || d.refused != "" {
			continue
		}
		switch pods := t.candidates(d); len(pods) {
		case 0:
		case 1:
			claims[d] = pods[0]
			claimants[pods[0].ObjectKey] = append(claimants[pods[0].ObjectKey], d)
		default:
			d.dispute = fmt.Sprintf("the addresses inside are those of pods %s and %s", show(pods[0].ObjectKey), show(pods[1].ObjectKey))
		}
	}
	for _, d := range t.inOrder() {
		p := claims[d]
		if p == nil {
			continue
		}
		if d.dispute = t.against(d, p, claimants[p.ObjectKey]); d.dispute == "" {
			d.bound = &bound{pod: p.ObjectKey, uid: p.UID, addrs: sorted(p.IPs), origin: byHint, order: t.next(), seen: true, doubtful: p.bereft}
			d.spent = ""
		}
	}
}

// against says what forbids to bind d to p.
func (t *Tracker) against(d *device, p *knownPod, claimants []*device) string {
	if h := t.holder(p, d); h != nil {
		return fmt.Sprintf("pod %s is bound to %s", show(p.ObjectKey), h.link.Name)
	}
	if len(claimants) > 1 {
		return fmt.Sprintf("%s and %s carry the address of pod %s", claimants[0].link.Name, claimants[1].link.Name, show(p.ObjectKey))
	}
	for _, a := range sorted(p.IPs) {
		if owner, taken := t.owners[a]; taken {
			return fmt.Sprintf("address %s of pod %s is bound to %s", a, show(p.ObjectKey), t.named(owner))
		}
	}
	return ""
}
