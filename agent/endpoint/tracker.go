// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirnet/weir/policy"
)

// Tracker decides. It starts nothing, knows no kernel and is not safe for
// concurrent use: the goroutine that owns the desired state owns it.
//
// The order of a change of policy: tell the Tracker of the pods, put their
// policy into the maps, ask for Changes, bind. So a pod is enforced only when
// its policy is there.
type Tracker struct {
	opts   TrackerOptions
	synced bool // the first full list of pods was told
	listed bool // the first full list of interfaces was told

	pods    map[policy.ObjectKey]*knownPod
	devices map[int]*device
	// pending announcements are of interfaces that the kernel has not told of
	// yet.
	pending map[int]Announcement
	// owners of addresses, by index of the interface.
	owners map[netip.Addr]int
	order  uint64

	told map[int]Binding
	// inherited bindings are in the maps, from an earlier agent.
	inherited map[int]Recovered
}

type knownPod struct {
	*policy.Pod
	since time.Time
	// bereft: an interface that was bound to it has gone. What carries its
	// address now is its next sandbox, or another pod that got the address
	// before this one's object went.
	bereft bool
}

// device is an interface with what is known of it.
type device struct {
	link Link
	// hints are addresses seen inside, by the look that saw them first. Only
	// the first that are a pod's count, so one added later changes nothing.
	hints [][]netip.Addr
	// refused says why its packets cannot be seen; empty: they can.
	refused string
	bound   *bound
	// dispute closes it; empty: there is none.
	dispute string
	// spent: what it was bound to before, without an identity that could
	// return. It never passes unmanaged again.
	spent string
}

type origin uint8

const (
	byHint origin = iota + 1
	byRecovery
	byAnnouncement
)

// bound is a device's binding.
type bound struct {
	pod    policy.ObjectKey // zero: recovered, and not identified yet
	uid    string
	addrs  []netip.Addr
	origin origin
	order  uint64
	// status are the pod's addresses when it was announced: the announcement
	// is newer than they are.
	status []netip.Addr
	// seen: the pod was known once, so that its absence means its end.
	seen bool
	// doubtful: by a hint, for a pod that was bereft.
	doubtful bool
}

// NewTracker takes the options with their defaults.
func NewTracker(opts TrackerOptions) *Tracker {
	opts.Defaults()
	return &Tracker{
		opts:      opts,
		pods:      make(map[policy.ObjectKey]*knownPod),
		devices:   make(map[int]*device),
		pending:   make(map[int]Announcement),
		owners:    make(map[netip.Addr]int),
		told:      make(map[int]Binding),
		inherited: make(map[int]Recovered),
	}
}

// Recover tells what an earlier agent left. It comes before anything else.
func (t *Tracker) Recover(list []Recovered) {
	for _, r := range list {
		r.Addrs = sorted(r.Addrs)
		t.inherited[r.Index] = r
	}
}

// Observe takes what the kernel told.
func (t *Tracker) Observe(e Event) {
	for _, index := range e.Gone {
		t.deleteLink(index)
	}
	for _, l := range e.Links {
		t.SetLink(l)
	}
	for _, h := range e.Hints {
		t.setHint(h)
	}
	t.listed = t.listed || e.Listed
}

// SetLink tells of an interface that is new or has changed, e.g. its name. Its
// index is what it is followed by.
func (t *Tracker) SetLink(l Link) {
	if d := t.devices[l.Index]; d != nil {
		d.link = l
		return
	}
	d := &device{link: l}
	t.devices[l.Index] = d
	if r, was := t.inherited[l.Index]; was {
		d.bound = &bound{pod: r.Pod, uid: r.UID, addrs: r.Addrs, origin: byRecovery, order: t.next(), seen: true}
	}
	if a, waits := t.pending[l.Index]; waits {
		delete(t.pending, l.Index)
		// The announcer has its answer already; the dispute is shown.
		_ = t.announce(d, a)
	}
}

func (t *Tracker) next() uint64 {
	t.order++
	return t.order
}

func (t *Tracker) deleteLink(index int) {
	if d := t.devices[index]; d != nil && d.bound != nil {
		if p := t.live(d.bound); p != nil {
			p.bereft = true
		}
	}
	delete(t.devices, index)
	delete(t.pending, index)
}

// maxLooks bounds what a pod that adds addresses without end can make the
// agent keep.
const maxLooks = 16

func (t *Tracker) setHint(h Hint) {
	d := t.devices[h.Index]
	if d == nil || len(d.hints) >= maxLooks {
		return
	}
	var fresh []netip.Addr
	for _, a := range sorted(h.Addrs) {
		if usable(a) && !slices.ContainsFunc(d.hints, func(seen []netip.Addr) bool { return slices.Contains(seen, a) }) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) > 0 {
		d.hints = append(d.hints, fresh)
	}
}

// usable: an address that tells one pod from another.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !(a.Is6() && a.IsLinkLocalUnicast())
}

// sorted is a copy, unmapped, without zones and doubles.
func sorted(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.Unmap().WithZone(""))
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// SetPods takes the pods of a batch; those of other nodes are skipped. It
// reports whether any was of this node: if not, there are no Changes of it, and
// to ask for them costs time for every interface. In a cluster of thousands of
// pods that is nearly every batch.
func (t *Tracker) SetPods(b policy.Batch) (ours bool) {
	ours = b.Synced && !t.synced
	before := len(t.pods)
	for _, key := range b.DeletedPods {
		delete(t.pods, key)
	}
	for _, p := range b.Pods {
		if p.HostNetwork || !t.opts.Local(p.Node) {
			delete(t.pods, p.ObjectKey)
			continue
		}
		known := &knownPod{Pod: p, since: t.opts.Now()}
		if old := t.pods[p.ObjectKey]; old != nil && old.UID == p.UID {
			known.bereft = old.bereft
			if len(old.IPs) > 0 {
				known.since = old.since
			}
		}
		t.pods[p.ObjectKey] = known
		ours = true
	}
	t.synced = t.synced || b.Synced
	return ours || len(t.pods) != before
}

// SetModes replaces what says which namespaces are audited and which forward.
func (t *Tracker) SetModes(audit, forwards func(namespace string) bool) {
	t.opts.Audit, t.opts.Forwards = audit, forwards
	t.opts.Defaults()
}

// Refuse says that packets of an interface pass where weir cannot see them, and
// why; an empty reason takes it back.
func (t *Tracker) Refuse(index int, why string) {
	if d := t.devices[index]; d != nil {
		d.refused = why
	}
}

// Forget makes the next Changes tell the binding of an interface again: it
// could not be brought into force. It still counts as told, for an earlier one
// may be in force: without that the end of an interface that went away in the
// middle of a binding would be told to nobody.
func (t *Tracker) Forget(index int) { t.told[index] = Binding{} }

// Announce takes a pod from the CNI plugin. The error says which earlier
// binding stands against it; that one stays.
func (t *Tracker) Announce(a Announcement) error {
	a.Addrs = sorted(a.Addrs)
	if a.Pod.Name == "" || a.Pod.Namespace == "" {
		return fmt.Errorf("announcement of interface %d names no pod: give namespace and name", a.Index)
	}
	for _, addr := range a.Addrs {
		if !usable(addr) {
			return fmt.Errorf("announcement of pod %s: %s is not an address of a pod", show(a.Pod), addr)
		}
	}
	d := t.devices[a.Index]
	if d == nil {
		t.pending[a.Index] = a
		return nil
	}
	return t.announce(d, a)
}

func (t *Tracker) announce(d *device, a Announcement) error {
	if d.link.Kind != vethKind {
		return fmt.Errorf("pod %s: interface %s is a %s, and weir can only enforce at a veth", show(a.Pod), d.link.Name, d.link.Kind)
	}
	b := d.bound
	same := b != nil && b.pod == a.Pod && b.uid == a.UID
	unidentified := b != nil && b.origin == byRecovery && b.pod == (policy.ObjectKey{}) && meet(b.addrs, a.Addrs)
	if b != nil && b.origin != byHint && !same && !unidentified {
		return fmt.Errorf("pod %s: interface %s is bound to pod %s (uid %q) for as long as it exists", show(a.Pod), d.link.Name, show(b.pod), b.uid)
	}
	var status []netip.Addr
	if p := t.pods[a.Pod]; p != nil && p.UID == a.UID {
		status = sorted(p.IPs)
	}
	fresh := &bound{pod: a.Pod, uid: a.UID, addrs: a.Addrs, origin: byAnnouncement, order: t.next(), status: status}
	if same || unidentified {
		fresh.order = b.order
	}
	d.bound, d.spent = fresh, ""
	// A hint may have given this pod to another interface; it was wrong.
	for _, other := range t.devices {
		if o := other.bound; other != d && o != nil && o.origin == byHint && o.pod == a.Pod && o.uid == a.UID {
			other.release()
		}
	}
	return nil
}

// Retract takes an announcement back: the pod ends. Its interface stays bound,
// and closed as soon as the pod is not known.
func (t *Tracker) Retract(pod policy.ObjectKey, uid string) {
	for index, a := range t.pending {
		if a.Pod == pod && a.UID == uid {
			delete(t.pending, index)
		}
	}
	for _, d := range t.devices {
		if d.bound != nil && d.bound.pod == pod && d.bound.uid == uid {
			d.bound.seen = true
		}
	}
}

// release ends a binding that had no identity of its own; what it held becomes
// the first hint.
func (d *device) release() {
	d.spent = fmt.Sprintf("was bound to pod %s", show(d.bound.pod))
	if d.bound.pod == (policy.ObjectKey{}) {
		d.spent = fmt.Sprintf("was bound to %v by an earlier agent", d.bound.addrs)
	}
	if len(d.bound.addrs) > 0 {
		d.hints = slices.Insert(d.hints, 0, d.bound.addrs)
	}
	d.bound = nil
}

func meet(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(addr netip.Addr) bool { return slices.Contains(b, addr) })
}

func show(k policy.ObjectKey) string { return k.Namespace + "/" + k.Name }
