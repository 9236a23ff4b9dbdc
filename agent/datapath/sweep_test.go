// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

const (
	answered = uint8(bpf.WeirFlowFlagFLOW_ANSWERED)
	cut      = uint8(128) // for TestExpired alone: the verdict is a denial
	local    = uint8(bpf.WeirSideSIDE_LOCAL)
	remote   = uint8(bpf.WeirSideSIDE_REMOTE)
)

func TestExpired(t *testing.T) {
	const never = 400000
	for _, row := range []struct {
		name      string
		protocol  policy.Protocol
		initiator uint8
		flags     uint8
		tx, rx    int // seconds since the last packet
		fin       uint8
		finBack   uint8
		want      bool
	}{
		{"UDP, young", policy.UDP, local, 0, 34, 34, 0, 0, false},
		{"UDP, old", policy.UDP, local, 0, 36, 36, 0, 0, true},
		{"UDP, only the other end still sends", policy.UDP, local, answered, 186, 0, 0, 0, true},
		{"UDP, answered", policy.UDP, local, answered, 184, 0, 0, 0, false},
		{"UDP from outside, only the pod still sends", policy.UDP, remote, answered, 0, 186, 0, 0, true},
		{"UDP from outside, unanswered", policy.UDP, remote, 0, 0, 36, 0, 0, true},
		{"SCTP as UDP", policy.SCTP, local, answered, 36, 36, 0, 0, false},
		{"ICMP, answered", policy.ICMP, local, answered, 36, 36, 0, 0, true},
		{"ICMP, young", policy.ICMP, local, answered, 34, 34, 0, 0, false},
		{"ICMPv6", policy.ICMPv6, local, answered, 36, 36, 0, 0, true},
		{"TCP, open and silent", policy.TCP, local, answered, never, never, 0, 0, false},
		{"TCP, open and silent beyond all", policy.TCP, local, answered, never + 40000, never + 40000, 0, 0, true},
		{"TCP, never answered", policy.TCP, local, 0, 126, 126, 0, 0, true},
		{"TCP, not yet answered", policy.TCP, local, 0, 124, 124, 0, 0, false},
		{"TCP, reset", policy.TCP, local, answered, 126, 126, tcpRST, 0, true},
		{"TCP, reset by the other end", policy.TCP, local, answered, 126, 126, 0, tcpRST, true},
		{"TCP, half closed", policy.TCP, local, answered, 1000, 1000, tcpFIN, 0, false},
		{"TCP, closed", policy.TCP, local, answered, 126, 126, tcpFIN, tcpFIN, true},
		{"TCP, closed, one end still sends", policy.TCP, local, answered, 126, 3, tcpFIN, tcpFIN, false},
		{"tombstone, old", policy.TCP, local, answered | cut, 126, 200, 0, 0, true},
		{"tombstone, hit again", policy.UDP, local, cut, 124, 200, 0, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			// Ticks that have wrapped since, and ones that have not.
			for _, now := range []uint32{50, 1 << 31, 1<<32 - 1} {
				c := Clock{Ticks: now, PerSecond: 100}
				r := FlowRecord{
					Key: bpf.WeirFlowKey{Protocol: uint8(row.protocol)},
					Flow: bpf.WeirFlow{Initiator: row.initiator, Flags: row.flags, TcpTx: row.fin, TcpRx: row.finBack,
						LastTx: now - uint32(row.tx)*100, LastRx: now - uint32(row.rx)*100},
				}
				r.Flow.Verdict = uint8(bpf.WeirVerdictVERDICT_ALLOWED)
				if row.flags&cut != 0 {
					r.Flow.Verdict = uint8(bpf.WeirVerdictVERDICT_DENIED)
				}
				if got := expired(r, c, 432000*time.Second); got != row.want {
					t.Errorf("now %d: expired %v, want %v", now, got, row.want)
				}
			}
		})
	}
}

// udpFlow is an entry that is seconds old.
func udpFlow(c Clock, ifindex int, port uint16, seconds uint32) FlowRecord {
	at := c.Ticks - seconds*c.PerSecond
	return FlowRecord{
		Key:  bpf.WeirFlowKey{Ifindex: uint32(ifindex), Protocol: uint8(policy.UDP), LocalPort: port},
		Flow: bpf.WeirFlow{First: at, LastTx: at, LastRx: at, TxPackets: uint64(port), Verdict: uint8(bpf.WeirVerdictVERDICT_ALLOWED)},
	}
}

// enter makes entries as a program does.
func enter(t *testing.T, d *Datapath, table string, slot uint32, records ...FlowRecord) {
	t.Helper()
	for _, r := range records {
		check(t, d.maps[table].Put(r.Key, r.Flow))
	}
	used, err := d.usageOf(slot)
	check(t, err)
	added := uint64(len(records))
	if slot == spillSlot {
		used, added = 0, 1
	}
	check(t, d.maps[bpf.WeirMapFlowUsage].Put(slot, used+added))
}

func roomOf(t *testing.T, d *Datapath, slot uint32) int {
	t.Helper()
	var limit uint64
	check(t, d.maps[bpf.WeirMapFlowLimit].Lookup(slot, &limit))
	used, err := d.usageOf(slot)
	check(t, err)
	return int(limit - used)
}

func TestSweep(t *testing.T) {
	n := newNode(t)
	p, q := n.pod("dpsweep", 1), n.pod("dpother", 2)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Bind(q.binding()))
	slot, other := d.bindings[p.ifindex].slot, d.bindings[q.ifindex].slot
	if slot == other || slot < firstSlot || other < firstSlot {
		t.Fatalf("slots %d and %d", slot, other)
	}
	share := int(d.opts.Sizes.share(d.opts.ExpectedPods))
	c, err := d.Clock()
	check(t, err)
	for i := range uint16(1000) {
		enter(t, d, bpf.WeirMapFlows, slot, udpFlow(c, p.ifindex, i+1, 10))
	}
	enter(t, d, bpf.WeirMapFlows, slot, udpFlow(c, p.ifindex, 2001, 100), udpFlow(c, p.ifindex, 2002, 100))
	enter(t, d, bpf.WeirMapFlows, other, udpFlow(c, q.ifindex, 1, 10), udpFlow(c, q.ifindex, 2, 100))
	enter(t, d, bpf.WeirMapFlowsSpill, spillSlot, udpFlow(c, p.ifindex, 3001, 100))

	var closed []string
	live := 0
	sweep := func() Swept {
		t.Helper()
		closed, live = nil, 0
		s, err := d.Sweep(func(r FlowRecord) {
			closed = append(closed, fmt.Sprintf("%d/%d=%d", r.Key.Ifindex, r.Key.LocalPort, r.Flow.TxPackets))
		}, func(FlowRecord) { live++ })
		check(t, err)
		slices.Sort(closed)
		return s
	}
	s := sweep()
	want := []string{
		fmt.Sprintf("%d/2001=2001", p.ifindex), fmt.Sprintf("%d/2002=2002", p.ifindex),
		fmt.Sprintf("%d/2=2", q.ifindex), fmt.Sprintf("%d/3001=3001", p.ifindex),
	}
	slices.Sort(want)
	if !slices.Equal(closed, want) || s.Closed != 4 || s.Live != 1001 || s.Spill != 0 || live != 1001 {
		t.Fatalf("closed %v, %+v, %d seen live; want %v and 1001 left", closed, s, live, want)
	}
	if got := roomOf(t, d, slot); got != share-1000 {
		t.Errorf("room for %d more flows, want %d", got, share-1000)
	}
	if got := roomOf(t, d, other); got != share-1 {
		t.Errorf("room of the other for %d, want %d", got, share-1)
	}
	if flag, _ := d.usageOf(spillSlot); flag != 1 {
		t.Error("the mark of flows_spill went at the first empty pass")
	}
	sweep()
	if flag, _ := d.usageOf(spillSlot); flag != 0 {
		t.Error("the mark of flows_spill stays")
	}

	check(t, d.Unbind(p.ifindex))
	if s := sweep(); s.Closed != 1000 || s.Live != 1 {
		t.Errorf("%+v after unbind, want 1000 closed and one left", s)
	}
	if d.slots.used[slot] {
		t.Error("the slot of an unbound veth is not free")
	}
	for _, u := range d.Usage() {
		if u.Map == bpf.WeirMapFlows && u.Used != 1 {
			t.Errorf("usage of flows %d, want 1", u.Used)
		}
	}
}

// An entry that moves on between the look and the deletion is put back, with
// what it gained.
func TestSweepRace(t *testing.T) {
	n := newNode(t)
	p := n.pod("dprace", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	c, err := d.Clock()
	check(t, err)
	m := d.maps[bpf.WeirMapFlows]
	seen := udpFlow(c, p.ifindex, 1, 100)
	moved := udpFlow(c, p.ifindex, 1, 0)
	moved.Flow.TxPackets = 77
	check(t, m.Put(moved.Key, moved.Flow))
	pass, err := d.beginPass(c, func(FlowRecord) { t.Error("a live flow is reported closed") }, nil)
	check(t, err)
	gone, err := pass.remove(m, seen)
	check(t, err)
	var now bpf.WeirFlow
	if err := m.Lookup(seen.Key, &now); gone || err != nil || now != moved.Flow {
		t.Errorf("gone %v, %v, %+v; want the entry as it had become", gone, err, now)
	}
}

// A number that the kernel gives again before the sweep: the flows of the last
// owner are not the new one's.
func TestBoundAgainBeforeSweep(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpagain", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	c, err := d.Clock()
	check(t, err)
	enter(t, d, bpf.WeirMapFlows, d.bindings[p.ifindex].slot, udpFlow(c, p.ifindex, 1, 0))
	check(t, d.Unbind(p.ifindex))
	check(t, d.Bind(p.binding()))
	if left, err := countKeys[bpf.WeirFlowKey](d.maps[bpf.WeirMapFlows]); left != 0 || err != nil {
		t.Errorf("%d flows of the last owner are left, %v", left, err)
	}
	s, err := d.Sweep(nil, nil)
	if err != nil || s.Closed != 0 || !d.slots.used[d.bindings[p.ifindex].slot] {
		t.Errorf("%+v, %v: the sweep took the new owner's slot", s, err)
	}
}

func TestShareIsPutRight(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpshare", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	slot := d.bindings[p.ifindex].slot
	c, err := d.Clock()
	check(t, err)
	enter(t, d, bpf.WeirMapFlows, slot, udpFlow(c, p.ifindex, 1, 0))
	check(t, d.maps[bpf.WeirMapFlowLimit].Put(slot, uint64(3))) // as a crash may leave it
	if _, err := d.Sweep(nil, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := roomOf(t, d, slot), int(d.opts.Sizes.share(d.opts.ExpectedPods))-1; got != want {
		t.Errorf("room for %d, want %d", got, want)
	}
}

// Entries that are made while the walk goes on are not counted by it: then the
// limit is raised by what was deleted, and no more.
func TestSweepOfABusyEndpoint(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpbusy", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	slot := d.bindings[p.ifindex].slot
	c, err := d.Clock()
	check(t, err)
	enter(t, d, bpf.WeirMapFlows, slot, udpFlow(c, p.ifindex, 1, 0), udpFlow(c, p.ifindex, 2, 100), udpFlow(c, p.ifindex, 3, 100))
	before := roomOf(t, d, slot)
	made := false
	_, err = d.Sweep(nil, func(FlowRecord) {
		if !made {
			made = true
			enter(t, d, bpf.WeirMapFlows, slot, udpFlow(c, p.ifindex, 4, 0))
		}
	})
	check(t, err)
	if got := roomOf(t, d, slot); got != before+2-1 {
		t.Errorf("room for %d, want %d: two deleted, one made", got, before+2-1)
	}
}

// The entry after translation outlives its own idle time only with the entry
// of what was called.
func TestSweepOfTranslatedFlows(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpsweep", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	clock, err := d.Clock()
	check(t, err)
	record := func(port uint16, peer byte, seconds uint32, flags bpf.WeirFlowFlag) FlowRecord {
		r := udpFlow(clock, p.ifindex, port, seconds)
		r.Key.Protocol, r.Key.Remote[15] = uint8(policy.TCP), peer
		r.Flow.Flags = uint8(flags | bpf.WeirFlowFlagFLOW_ANSWERED)
		return r
	}
	const deferred, translated = bpf.WeirFlowFlagFLOW_DEFERRED, bpf.WeirFlowFlagFLOW_TRANSLATED
	enter(t, d, bpf.WeirMapFlows, d.bindings[p.ifindex].slot,
		record(1, 1, 200, deferred), record(1, 2, 200, translated), // open and silent
		record(2, 2, 200, translated), // the other end has reset it
		record(3, 2, 100, translated),
		record(4, 2, 200, 0)) // not by a Service
	for pass, want := range []int{5, 4, 4} {
		swept, err := d.Sweep(nil, nil)
		check(t, err)
		if swept.Live != want {
			t.Errorf("pass %d: %d entries are left, want %d", pass, swept.Live, want)
		}
	}
}
