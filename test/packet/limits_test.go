// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"fmt"
	"testing"

	"github.com/weirnet/weir/bpf"
)

// flood sends distinct tuples from A without reading a ring, and returns what
// was said of them.
func (w *world) flood(n int, port string) bpf.WeirRingStats {
	w.t.Helper()
	before, err := w.m.totals()
	w.must(err)
	for i := range n {
		frame, err := w.udp(fmt.Sprintf("A:%d", 1+i), port).Frame()
		w.must(err)
		_, err = w.m.execute(FromPod, frame, Context{Ifindex: w.m.Link(linkA)})
		w.must(err)
	}
	after, err := w.m.totals()
	w.must(err)
	var sum bpf.WeirRingStats
	for ring := range after.rings {
		a, b := after.rings[ring], before.rings[ring]
		sum.Emitted += a.Emitted - b.Emitted
		sum.Lost += a.Lost - b.Lost
		sum.Limited += a.Limited - b.Limited
		sum.Thinned += a.Thinned - b.Thinned
		sum.Suppressed += a.Suppressed - b.Suppressed
	}
	w.t.Logf("%d packets to %s: %+v", n, port, sum)
	if called := sum.Emitted + sum.Lost + sum.Limited + sum.Thinned + sum.Suppressed; called != uint64(n) {
		w.t.Errorf("%d packets, %d events: %+v", n, called, sum)
	}
	return sum
}

// events reads a ring until it is empty.
func (w *world) events(ring bpf.WeirRing) []bpf.WeirEvent {
	w.t.Helper()
	events, err := w.m.drain(ring)
	w.must(err)
	return events
}

// One pod's flood of denied tuples leaves the room for another pod's first
// denial, and every packet is counted. One token a second: an emulated machine
// makes no more than a hundred packets in that time.
func TestFloodLeavesRoom(t *testing.T) {
	const n = 5_000
	m := machine(t, func(o *Options) { o.RingBytes, o.EventRate = 1<<20, 1 })
	w := newWorld(t, m, four())
	w.endpoint(linkB, bpf.WeirEndpoint{SetIngress: setNone, SetEgress: setNone, Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
	said := w.flood(n, "D:53")
	if said.Emitted < 1000 || said.Emitted > n/4 || said.Limited == 0 || said.Lost > 0 || said.Thinned > 0 {
		t.Errorf("%+v: want a burst of 1000 told, the others limited", said)
	}
	frame, err := w.udp("B:9", "D:53").Frame()
	w.must(err)
	_, err = m.execute(FromPod, frame, Context{Ifindex: m.Link(linkB)})
	w.must(err)
	events := w.events(bpf.WeirRingRING_DENIED)
	if last := events[len(events)-1]; last.Ifindex != m.Link(linkB) || len(events) != int(said.Emitted)+1 {
		t.Errorf("%d events, the last of interface %d: want %d, the last of the other pod (%d)", len(events), last.Ifindex, said.Emitted+1, m.Link(linkB))
	}
	now, err := m.totals()
	w.must(err)
	key := bpf.WeirDropKey{Ifindex: m.Link(linkA), Direction: uint8(egress), Reason: uint8(bpf.WeirReasonREASON_NO_RULE)}
	if got := now.drops[key].Packets; got != n {
		t.Errorf("%d drops counted of %d", got, n)
	}
}

// What is said of an endpoint depends on no other's bucket, and the two rings
// have a bucket each.
func TestBucketsAreApart(t *testing.T) {
	m := machine(t, func(o *Options) { o.RingBytes, o.Flows, o.EventRate = 1<<20, 1<<14, 1 })
	w := newWorld(t, m, four())
	if denied := w.flood(2000, "D:53"); denied.Limited == 0 {
		t.Errorf("denied: %+v", denied)
	}
	if allowed := w.flood(3000, "C:53"); allowed.Emitted != 3000 {
		t.Errorf("allowed: %+v, want all told", allowed)
	}
	if allowed := w.flood(3000, "O:53"); allowed.Limited == 0 {
		t.Errorf("allowed: %+v, want some limited", allowed)
	}
	w.must(m.objects.Allowances.Put(uint32(slotA), bpf.WeirAllowance{}))
	if denied := w.flood(500, "D:54"); denied.Emitted != 500 {
		t.Errorf("denied with a full bucket: %+v", denied)
	}
}

// While a ring fills, allowed flows thin out, and each event says how much.
func TestThinning(t *testing.T) {
	m := machine(t, nil) // 585 records
	w := newWorld(t, m, four())
	said := w.flood(3000, "C:53")
	events := w.events(bpf.WeirRingRING_ALLOWED)
	if said.Thinned == 0 || said.Limited > 0 || len(events) != int(said.Emitted) {
		t.Errorf("%+v, %d events: want some thinned, none limited", said, len(events))
	}
	const record = 112
	stands := 0
	for i, e := range events {
		want := uint16(1)
		if filled := i * record * 8 / (1 << 16); filled >= 4 {
			want = 2 << (filled - 4)
		}
		if e.Sample != want {
			t.Fatalf("event %d of %d stands for %d, want %d", i, len(events), e.Sample, want)
		}
		stands += int(e.Sample)
	}
	t.Logf("%d events stand for %d flows of %d", len(events), stands, 3000)
	if stands < 1500 || stands > 6000 {
		t.Errorf("the events stand for %d flows of 3000", stands)
	}
}

// A ring of denials that is three quarters full takes new tuples, and none that
// was told before; its repeats are told when there is room.
func TestRepeatsThinOut(t *testing.T) {
	m := machine(t, nil)
	w := newWorld(t, m, four())
	const most = 450 // of 585 records
	if said := w.flood(most, "D:53"); said.Emitted != most {
		t.Fatalf("%+v", said)
	}
	w.must(m.Age(2e9))
	if again := w.flood(1, "D:53"); again.Thinned != 1 {
		t.Errorf("a repeat: %+v, want it thinned", again)
	}
	if again := w.flood(1, "D:53"); again.Suppressed != 1 {
		t.Errorf("a repeat within a second: %+v, want it suppressed", again)
	}
	if other := w.flood(1, "D:54"); other.Emitted != 1 {
		t.Errorf("a new tuple: %+v, want it told", other)
	}
	w.events(bpf.WeirRingRING_DENIED)
	w.must(m.Age(2e9))
	w.flood(1, "D:53")
	if events := w.events(bpf.WeirRingRING_DENIED); len(events) != 1 || events[0].Repeats != 2 {
		t.Errorf("with room: %+v, want one event with 2 repeats", events)
	}
}

// What could not be told is owed: it is told with the tuple's next denial.
func TestOwed(t *testing.T) {
	m := machine(t, nil)
	w := newWorld(t, m, four())
	var empty bpf.WeirAllowance
	empty.Denied.Filled = w.tick() + 200 // filled by a CPU that is ahead
	w.must(m.objects.Allowances.Put(uint32(slotA), empty))
	if said := w.flood(1, "D:53"); said.Limited != 1 {
		t.Errorf("%+v, want it limited", said)
	}
	w.must(m.objects.Allowances.Put(uint32(slotA), bpf.WeirAllowance{}))
	w.flood(1, "D:53")
	if events := w.events(bpf.WeirRingRING_DENIED); len(events) != 1 || events[0].Repeats != 1 {
		t.Errorf("%+v, want one event with one repeat", events)
	}
}

// tick is the programs' time by now, as an entry shows it.
func (w *world) tick() uint32 {
	w.t.Helper()
	w.play([]step{out(w.udp("A:1", "C:53"), "allowed rule new")})
	flow, _ := w.flow(protocolUDP, "A:1", "C:53")
	return flow.LastTx
}
