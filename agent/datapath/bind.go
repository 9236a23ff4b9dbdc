// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
)

// Binding says which pod is behind a host veth.
type Binding struct {
	Ifindex int
	Ifname  string // for messages
	Pod     policy.ObjectKey
	UID     string // empty: not known; the name alone tells
	// Addrs are all addresses that the pod may send from.
	Addrs []netip.Addr
	// Mode holds once the pod's sets are known; until then it is
	// Options.Unready. MODE_NOT_READY and MODE_NOT_READY_OPEN hold at once.
	Mode bpf.WeirMode
	// Forwards: the pod may send what it did not originate (EP_FORWARDS).
	Forwards bool
}

// Bind tells the programs of a veth's pod, and then attaches them to it. Bound
// again, it takes the new content; addresses that the new content lacks are
// taken away.
//
// An address that belongs to another veth that still exists stays there, and
// is reported as *ConflictError; a program that cannot be attached as
// *AttachError. The rest of the binding holds.
func (d *Datapath) Bind(b Binding) error {
	if b.Ifindex <= loopback {
		return fmt.Errorf("bind %s/%s: interface %d cannot be a pod's", b.Pod.Namespace, b.Pod.Name, b.Ifindex)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slot, ok := d.departed[b.Ifindex]; ok {
		// The kernel gave the number again before the sweep came by: flows
		// of the last owner must not be taken for the new one's.
		if err := d.forgetFlows(b.Ifindex); err != nil {
			return err
		}
		d.slots.put(slot)
		delete(d.departed, b.Ifindex)
	}
	bound, err := d.prepare(b)
	if err != nil {
		return err
	}
	// Before the addresses: by those the program behind translation finds it.
	moved, err := d.putEndpoints(d.endpointOf(bound))
	if err != nil {
		return err
	}
	d.bindings[b.Ifindex] = bound
	conflicts, err := d.claim(b)
	if err != nil {
		return errors.Join(err, conflicts)
	}
	lost, err := d.release(b.Ifindex, addressSet(b.Addrs))
	// Flows from an address that is no longer the pod's pass no source check
	// until they are judged again.
	if err == nil && (moved || lost) {
		err = d.moveEpoch()
	}
	if err != nil {
		return errors.Join(err, conflicts)
	}
	return errors.Join(conflicts, d.attach(bound))
}

// prepare finds the slot, and checks that there is room for all.
func (d *Datapath) prepare(b Binding) (*binding, error) {
	b.Addrs = slices.Clone(b.Addrs)
	bound := &binding{Binding: b, handover: !d.finished && d.attachedBefore(b.Ifindex, FromPod)}
	fresh := 0
	for _, a := range b.Addrs {
		if _, ok := d.tables.local[a.Unmap()]; !ok {
			fresh++
		}
	}
	endpoints := len(d.tables.endpoints)
	if _, ok := d.tables.endpoints[uint32(b.Ifindex)]; !ok {
		endpoints++
	}
	err := errors.Join(d.room(bpf.WeirMapLocalIps, len(d.tables.local)+fresh), d.room(bpf.WeirMapEndpoints, endpoints))
	if err != nil {
		return nil, err
	}
	if old := d.bindings[b.Ifindex]; old != nil {
		bound.slot, bound.handover = old.slot, old.handover
		return bound, nil
	}
	if r, ok := d.recovered[b.Ifindex]; ok && r.value.Slot >= firstSlot && r.value.Slot < d.opts.Sizes.slots() {
		bound.slot = r.value.Slot
		var err error
		if !sameVeth(r, b.Addrs) { // another veth has the number by now
			err = d.forgetFlows(b.Ifindex)
		}
		return bound, errors.Join(err, d.keepShare(bound.slot))
	}
	slot, ok := d.slots.get()
	if !ok {
		size := d.opts.Sizes.slots()
		return nil, &FullError{Map: bpf.WeirMapFlowLimit, Size: size, Need: size + 1, Option: optionOf(bpf.WeirMapFlowLimit)}
	}
	bound.slot = slot
	if err := d.grantShare(slot); err != nil {
		d.slots.put(slot)
		return nil, err
	}
	return bound, nil
}

// grantShare lets a slot without entries make its share of them.
func (d *Datapath) grantShare(slot uint32) error {
	var used uint64
	if err := d.maps[bpf.WeirMapFlowUsage].Lookup(slot, &used); err != nil {
		return fmt.Errorf("read flow usage: %w", err)
	}
	limit := used + d.opts.Sizes.share(d.opts.ExpectedPods)
	if err := d.maps[bpf.WeirMapFlowLimit].Put(slot, limit); err != nil {
		return fmt.Errorf("write flow limit: %w", err)
	}
	return nil
}

// keepShare grants a share to a slot of the run before, where this run's tables
// of flows are new.
func (d *Datapath) keepShare(slot uint32) error {
	var limit uint64
	if err := d.maps[bpf.WeirMapFlowLimit].Lookup(slot, &limit); err != nil {
		return fmt.Errorf("read flow limit: %w", err)
	}
	if limit > 0 {
		return nil
	}
	return d.grantShare(slot)
}

// claim makes the binding's addresses the veth's. The first error is the
// conflicts, the second a failure to write.
func (d *Datapath) claim(b Binding) (conflicts, failure error) {
	var keys []bpf.WeirAddress
	var owners []bpf.WeirOwner
	for _, a := range b.Addrs {
		a = a.Unmap()
		owner, taken := d.ownerOf(a, b.Ifindex)
		switch {
		case taken && int(owner) == b.Ifindex:
		case taken && linkExists(int(owner)):
			conflicts = errors.Join(conflicts, &ConflictError{Addr: a, Ifindex: b.Ifindex, With: int(owner)})
		default:
			keys = append(keys, addressKey(a))
			owners = append(owners, bpf.WeirOwner{Address: addressKey(a), Ifindex: uint32(b.Ifindex)})
		}
	}
	if len(keys) > 0 {
		n, err := d.store.Put(bpf.WeirMapLocalIps, keys, owners)
		for _, k := range keys[:n] {
			d.tables.local[addressOf(k)] = uint32(b.Ifindex)
		}
		if err != nil {
			return conflicts, d.asFull(bpf.WeirMapLocalIps, len(d.tables.local)+1, err)
		}
	}
	return conflicts, nil
}

// ownerOf is the veth that may send from an address. What the run before bound
// to another veth counts until this run has bound that one itself.
func (d *Datapath) ownerOf(a netip.Addr, wanting int) (uint32, bool) {
	if owner, ok := d.tables.local[a]; ok {
		return owner, true
	}
	for ifindex, r := range d.recovered {
		if ifindex != wanting && d.bindings[ifindex] == nil && slices.Contains(r.Addrs, a) {
			return uint32(ifindex), true
		}
	}
	return 0, false
}

func addressSet(addrs []netip.Addr) map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		set[a.Unmap()] = true
	}
	return set
}

// release takes a veth's addresses away, but for those wanted, and reports
// whether there were any.
func (d *Datapath) release(ifindex int, wanted map[netip.Addr]bool) (bool, error) {
	var keys []bpf.WeirAddress
	for a, owner := range d.tables.local {
		if int(owner) == ifindex && !wanted[a] {
			keys = append(keys, addressKey(a))
		}
	}
	if len(keys) == 0 {
		return false, nil
	}
	if _, err := d.store.Remove(bpf.WeirMapLocalIps, keys); err != nil {
		return false, err
	}
	for _, k := range keys {
		delete(d.tables.local, addressOf(k))
	}
	return true, nil
}

func (d *Datapath) endpointOf(b *binding) bpf.WeirEndpoint {
	value := bpf.WeirEndpoint{Ifindex: uint32(b.Ifindex), Slot: b.slot, Mode: uint8(d.opts.Unready)}
	if unready(b.Mode) {
		value.Mode = uint8(b.Mode)
	}
	if sets, ok := d.subjects[b.Pod]; ok && sameUID(sets.UID, b.UID) {
		value.SetIngress, value.SetEgress = uint32(sets.Ingress), uint32(sets.Egress)
		value.Mode = uint8(b.Mode)
		value.Flags = anyFlags(sets)
	}
	if b.handover && !d.finished {
		value.Flags |= uint8(bpf.WeirEndpointFlagEP_HANDOVER)
	}
	if b.Forwards {
		value.Flags |= uint8(bpf.WeirEndpointFlagEP_FORWARDS)
	}
	return value
}

// sameVeth: it is the same pod if an address of it is the same.
func sameVeth(r Recovered, addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(r.Addrs, a.Unmap()) })
}

func unready(m bpf.WeirMode) bool {
	return m != bpf.WeirModeMODE_ENFORCE && m != bpf.WeirModeMODE_AUDIT
}

// sameUID: a pod deleted and made again under its name is another one.
func sameUID(a, b string) bool { return a == b || a == "" || b == "" }

func anyFlags(s compile.SubjectSets) uint8 {
	var flags bpf.WeirEndpointFlag
	if s.IngressAny {
		flags |= bpf.WeirEndpointFlagEP_INGRESS_ANY
	}
	if s.EgressAny {
		flags |= bpf.WeirEndpointFlagEP_EGRESS_ANY
	}
	return uint8(flags)
}

// attach puts the programs in place. Before Finish, programs of the run before
// stay: they use tables that are complete.
func (d *Datapath) attach(b *binding) error {
	if err := d.attachForward(); err != nil {
		return err
	}
	var errs []error
	for _, hook := range hooks {
		if !d.finished && d.attachedBefore(b.Ifindex, hook) {
			continue
		}
		if err := d.hook.Attach(b.Ifindex, hook, d.pair(hook)); err != nil {
			errs = append(errs, &AttachError{Ifindex: b.Ifindex, Ifname: b.Ifname, Hook: hook, Err: err})
		} else if d.other != nil {
			errs = append(errs, d.other.Detach(b.Ifindex, hook))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) attachedBefore(ifindex int, hook Hook) bool {
	for _, a := range []attacher{d.hook, d.other} {
		if a == nil {
			continue
		}
		if p, err := positionOn(a, ifindex, hook); err == nil && p.Attached {
			return true
		}
	}
	return false
}

// Unbind takes the programs from a veth, if it still exists, and forgets it.
// Its flows are deleted by the next Sweep.
func (d *Datapath) Unbind(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, bound := d.bindings[ifindex]
	_, left := d.recovered[ifindex]
	if !bound && !left {
		return fmt.Errorf("unbind interface %d: %w", ifindex, ErrNotBound)
	}
	slot := d.recovered[ifindex].value.Slot
	if bound {
		slot = b.slot
	}
	return d.forget(ifindex, slot)
}

func (d *Datapath) forget(ifindex int, slot uint32) error {
	if err := d.detach(ifindex); err != nil {
		return err
	}
	if _, ok := d.tables.endpoints[uint32(ifindex)]; ok {
		if _, err := d.store.Remove(bpf.WeirMapEndpoints, []uint32{uint32(ifindex)}); err != nil {
			return err
		}
		delete(d.tables.endpoints, uint32(ifindex))
	}
	if _, err := d.release(ifindex, nil); err != nil {
		return err
	}
	delete(d.bindings, ifindex)
	delete(d.recovered, ifindex)
	d.departed[ifindex] = slot
	return nil
}

func (d *Datapath) detach(ifindex int) error {
	var errs []error
	for _, hook := range hooks {
		errs = append(errs, d.hook.Detach(ifindex, hook))
		if d.other != nil {
			errs = append(errs, d.other.Detach(ifindex, hook))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unbind interface %d: %w", ifindex, err)
	}
	return nil
}

// SetMode changes the mode of every veth of a pod, and has its live flows
// judged again.
func (d *Datapath) SetMode(pod policy.ObjectKey, mode bpf.WeirMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, moved := false, false
	for _, b := range d.bindings {
		if b.Pod != pod {
			continue
		}
		found = true
		b.Mode = mode
		again, err := d.putEndpoints(d.endpointOf(b))
		if err != nil {
			return err
		}
		moved = moved || again
	}
	if !found {
		return fmt.Errorf("set the mode of %s/%s: %w", pod.Namespace, pod.Name, ErrNotBound)
	}
	if moved {
		return d.moveEpoch()
	}
	return nil
}

func linkExists(ifindex int) bool {
	_, err := netlink.LinkByIndex(ifindex)
	return err == nil || !isNoLink(err)
}

func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || gone(err)
}
