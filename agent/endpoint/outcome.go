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

// Rounds of Changes after which there are none.
const Rounds = 4

// Changes are the steps from what was told before to what must hold now. They
// count as done; see Forget.
//
// What one round frees the next may give away: ask again until there are none,
// at most Rounds times.
func (t *Tracker) Changes() Changes {
	t.settle()
	var c Changes
	want := make(map[int]Binding)
	for index, d := range t.devices {
		if b, managed := t.binding(d); managed {
			want[index] = b
		}
	}
	if t.ready() {
		for index := range t.inherited {
			if _, stays := want[index]; !stays {
				c.Unbind = append(c.Unbind, index)
			}
		}
	}
	for index := range t.told {
		if _, stays := want[index]; !stays {
			c.Unbind = append(c.Unbind, index)
		}
	}
	for index, b := range want {
		// What an earlier agent left in force stays so until everything is
		// known: closing it meanwhile would break what works.
		if _, waits := t.inherited[index]; waits && !t.ready() {
			continue
		}
		if old, was := t.told[index]; !was || !old.equal(b) {
			c.Bind = append(c.Bind, b)
			t.told[index] = b
		}
	}
	if t.ready() {
		clear(t.inherited)
	}
	for _, index := range c.Unbind {
		delete(t.told, index)
	}
	slices.Sort(c.Unbind)
	c.Unbind = slices.Compact(c.Unbind)
	slices.SortFunc(c.Bind, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(len(a.Addrs), len(b.Addrs)), cmp.Compare(a.Index, b.Index))
	})
	return c
}

// binding is what must be attached to a device; managed is false for nothing.
func (t *Tracker) binding(d *device) (b Binding, managed bool) {
	e, open := t.outcome(d)
	if e.State == Unmanaged || e.State == Unenforceable {
		return Binding{}, false
	}
	b = Binding{Index: d.link.Index, Name: d.link.Name, State: e.State, Open: open}
	if d.bound == nil {
		return b, true
	}
	b.Pod, b.UID = d.bound.pod, d.bound.uid
	for _, a := range t.wanted(d.bound) {
		if t.owners[a] == d.link.Index {
			b.Addrs = append(b.Addrs, a)
		}
	}
	b.Forwards = e.State != NotReady && t.opts.Forwards(b.Pod.Namespace)
	return b, true
}

// outcome is how a device stands; open: not ready, and may pass everything.
func (t *Tracker) outcome(d *device) (e Endpoint, open bool) {
	e = Endpoint{Index: d.link.Index, Name: d.link.Name}
	if d.bound != nil {
		e.Pod, e.UID = d.bound.pod, d.bound.uid
		e.Addrs = t.wanted(d.bound)
	}
	if d.refused != "" || d.link.Kind != vethKind {
		e.State, e.Why = t.unseen(d, &e)
		return e, false
	}
	switch {
	case d.dispute != "":
		e.State, e.Why = NotReady, "closed: "+d.dispute
	case d.bound != nil:
		return t.boundOutcome(d, e)
	case d.spent != "":
		e.State, e.Why = NotReady, "closed: "+d.spent+", which is gone"
	case !t.ready() && len(t.candidates(d)) > 0:
		e.State, e.Why, open = NotReady, "the first full lists are not complete", t.opts.UnreadyOpen
	case len(d.hints) == 0:
		e.State, e.Why = Unmanaged, "no address has been seen inside"
	default:
		e.State, e.Why = Unmanaged, "no address inside is a pod's of this node"
	}
	return e, open
}

func (t *Tracker) boundOutcome(d *device, e Endpoint) (Endpoint, bool) {
	p := t.live(d.bound)
	switch {
	case t.over(d.bound):
		e.State, e.Why = NotReady, t.ended(d.bound)
		return e, false
	case !t.ready():
		e.State, e.Why = NotReady, "the first full lists are not complete"
		return e, t.opts.UnreadyOpen
	case p == nil:
		e.State, e.Why = NotReady, "its pod is announced and not known yet"
		return e, t.opts.UnreadyOpen
	case t.opts.Audit(d.bound.pod.Namespace):
		e.State = Audited
	default:
		e.State = Enforced
	}
	return e, false
}

// ended says what became of a binding's pod.
func (t *Tracker) ended(b *bound) string {
	p := t.pods[b.pod]
	switch {
	case p == nil:
		return "closed: its pod is gone"
	case p.UID != b.uid:
		return fmt.Sprintf("closed: its pod (uid %s) is gone; a new one has the name", b.uid)
	}
	return "closed: its pod has ended"
}

// unseen is the state of a device whose packets weir cannot see.
func (t *Tracker) unseen(d *device, e *Endpoint) (State, string) {
	if d.bound == nil {
		pods := t.candidates(d)
		if len(pods) == 0 {
			return Unmanaged, "no address inside is a pod's of this node"
		}
		e.Pod, e.UID, e.Addrs = pods[0].ObjectKey, pods[0].UID, sorted(pods[0].IPs)
	}
	if d.refused != "" {
		return Unenforceable, d.refused
	}
	return Unenforceable, fmt.Sprintf("its interface is a %s; weir sees packets at a veth only", d.link.Kind)
}

// Endpoints lists the interfaces that lead elsewhere, and the pods of this node
// without one, sorted by interface and pod.
func (t *Tracker) Endpoints() []Endpoint {
	t.settle()
	var out []Endpoint
	found := make(map[policy.ObjectKey]bool)
	for _, d := range t.devices {
		e, _ := t.outcome(d)
		listed := d.bound != nil || d.link.Kind == vethKind && d.link.Elsewhere || e.State == Unenforceable
		if !listed {
			continue
		}
		out = append(out, e)
		if p := t.pods[e.Pod]; p != nil && p.UID == e.UID {
			found[e.Pod] = true
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(t.pods), compareKeys) {
		if p := t.pods[key]; !found[key] && !p.Terminal && len(p.IPs) > 0 {
			out = append(out, t.homeless(p))
		}
	}
	slices.SortStableFunc(out, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Index, b.Index))
	})
	return out
}

func compareKeys(a, b policy.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// homeless is a pod whose interface is not known.
func (t *Tracker) homeless(p *knownPod) Endpoint {
	e := Endpoint{Pod: p.ObjectKey, UID: p.UID, Addrs: sorted(p.IPs), State: NotReady, Why: "no veth with its address inside is there yet"}
	if !t.ready() || t.opts.Now().Sub(p.since) < t.opts.Patience {
		return e
	}
	for _, d := range t.inOrder() {
		switch {
		case d.link.Functions > 0:
			e.Why = fmt.Sprintf("no veth carries its address, and %s has virtual functions (SR-IOV), whose packets never cross this network namespace", d.link.Name)
		case slices.Contains(unseenKinds[:], d.link.Kind):
			e.Why = fmt.Sprintf("no veth carries its address, and this node has devices of kind %s (%s), whose packets weir does not see", d.link.Kind, d.link.Name)
		default:
			continue
		}
		e.State = Unenforceable
		return e
	}
	return e
}

// unseenKinds are devices that give a pod a way past any veth.
var unseenKinds = [...]string{"netkit", "ipvlan", "ipvtap", "macvlan", "macvtap"}

// Owner is the interface that an address is bound to; 0: none.
func (t *Tracker) Owner(addr netip.Addr) int { return t.owners[addr.Unmap()] }
