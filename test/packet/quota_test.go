// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"fmt"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestShare(t *testing.T) {
	m := machine(t, nil)
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t, m, f)
			w.must(m.SetFlowLimit(slotA, 2))
			begin := func(n int) step {
				return out(f.udp(fmt.Sprintf("A:%d", 1000+n), "C:53"), "allowed rule new")
			}
			answer := func(n int) step {
				return in(f.udp("C:53", fmt.Sprintf("A:%d", 1000+n)), "allowed reply")
			}
			w.play([]step{begin(0), begin(1), w.holds(2, 0, 2, 0), begin(2), w.holds(2, 1, 2, 1), begin(3), w.holds(2, 2, 2, 1)})
			w.play([]step{answer(0), answer(1), answer(2), answer(3)})
			again := f.udp("A:1003", "C:53")
			w.play([]step{out(again, "allowed established"), w.holds(2, 2, 2, 1)})
			// Another pod's share is its own.
			w.play([]step{out(f.udp("B:1", "X:9"), "allowed not-isolated new").at(linkB), w.holds(3, 2, 2, 1)})
			// The sweep raised the limit by what it deleted.
			w.must(m.SetFlowLimit(slotA, 3))
			w.play([]step{begin(4), w.holds(4, 2, 3, 1), begin(5), w.holds(4, 3, 3, 1)})
		})
	}
}

// holds checks the sizes of both tables, and the usage of A's slot and slot 0.
func (w *world) holds(flows, spilled int, usage, anySpilled uint64) step {
	return then(func(w *world) {
		w.t.Helper()
		a, err := w.m.Flows()
		w.must(err)
		b, err := w.m.Spilled()
		w.must(err)
		used, err := w.m.FlowUsage(slotA)
		w.must(err)
		any, err := w.m.FlowUsage(0)
		w.must(err)
		if len(a) != flows || len(b) != spilled || used != usage || (any != 0) != (anySpilled != 0) {
			w.t.Errorf("flows %d, spilled %d, usage %d, slot 0 %d: want %d, %d, %d, %d", len(a), len(b), used, any, flows, spilled, usage, anySpilled)
		}
	})
}

func TestNoShare(t *testing.T) {
	w := newWorld(t, machine(t, nil), four())
	w.must(w.m.SetFlowLimit(slotA, 0))
	w.play([]step{out(w.udp("A:1", "C:53"), "allowed rule new"), w.holds(0, 1, 0, 1), in(w.udp("C:53", "A:1"), "allowed reply")})
}

// Spilled flows are judged again, cut and freed as the others.
func TestSpilledFlows(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		none := func(w *world) { newer(w); w.must(w.m.SetFlowLimit(slotA, 0)) }
		syn, ack, reply := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A"), f.tcp("C:80", "A:1000", "A")
		return []row{
			{"cut", none, []step{out(syn, "allowed rule new"), flip(setIn, setNone, 2), in(reply, "denied revoked revoked"), out(ack, "denied revoked")}},
			{"another rule", none, []step{out(syn, "allowed rule new"), flip(setIn, setNewer, 2), out(ack, "allowed * freed"), in(reply, "allowed reply")}},
			{"a new share takes no second entry", none, []step{out(syn, "allowed rule new"), then(func(w *world) { w.must(w.m.SetFlowLimit(slotA, 9)) }), out(ack, "allowed established"), then(func(w *world) {
				if flows, err := w.m.Flows(); err != nil || len(flows) != 0 {
					w.t.Errorf("flows %v, %v: want none", flows, err)
				}
			})}},
		}
	})
}

// A full table spills as well, and nothing is denied for it.
func TestFullTable(t *testing.T) {
	// The spill keeps its size: where a CPU takes up to 128 free entries of an LRU
	// map at once, one of 64 evicts as soon as the test changes its CPU (5.10).
	m := machine(t, func(o *Options) { o.Flows = 8 })
	w := newWorld(t, m, four())
	for n := range 40 {
		w.play([]step{out(w.udp(fmt.Sprintf("A:%d", 1000+n), "C:53"), "allowed rule new")})
	}
	flows, err := m.Flows()
	w.must(err)
	spilled, err := m.Spilled()
	w.must(err)
	used, err := m.FlowUsage(slotA)
	w.must(err)
	if len(flows) == 0 || len(flows) > 8 || len(flows)+len(spilled) != 40 || used != uint64(len(flows)) {
		t.Errorf("%d flows, %d spilled, usage %d: want at most 8, the rest of 40, and the number of flows", len(flows), len(spilled), used)
	}
	for n := range 40 {
		w.play([]step{in(w.udp("C:53", fmt.Sprintf("A:%d", 1000+n)), "allowed reply")})
	}
}

// An entry that is used again takes no more of the share.
func TestReuseIsFree(t *testing.T) {
	m := machine(t, func(o *Options) { o.MidstreamStrict = true })
	w := newWorld(t, m, four())
	syn, rst := w.tcp("A:1000", "C:80", "S"), w.tcp("A:1000", "C:80", "R")
	w.play([]step{out(syn, "allowed rule new"), out(rst, "allowed established"), out(syn, "allowed rule new"), w.holds(1, 0, 1, 0)})
	w.play([]step{out(w.udp("A:5000", "O:9"), "allowed rule new"), idle(31), in(w.udp("O:9", "A:5000"), "allowed rule new"), w.holds(2, 0, 2, 0)})
}

func TestFullRing(t *testing.T) {
	m := machine(t, func(o *Options) { o.RingBytes = 4096 })
	for _, c := range []struct {
		name string
		ring bpf.WeirRing
		step func(*world, int) step
	}{
		{"allowed", bpf.WeirRingRING_ALLOWED, func(w *world, n int) step { return out(w.udp(fmt.Sprintf("A:%d", n), "C:53"), "") }},
		{"denied", bpf.WeirRingRING_DENIED, func(w *world, n int) step { return out(w.udp(fmt.Sprintf("A:%d", n), "C:54"), "") }},
	} {
		t.Run(c.name, func(t *testing.T) { fillRing(newWorld(t, m, four()), c.ring, c.step) })
	}
}

// fillRing runs without reading the ring: 4096 bytes hold 36 events of 104
// bytes with their headers of 8. Allowed flows thin out before it is full.
func fillRing(w *world, ring bpf.WeirRing, one func(*world, int) step) {
	const packets, fit = 60, 4096 / 112
	passed := 0
	for n := range packets {
		frame, err := one(w, 1000+n).packet.Frame()
		w.must(err)
		returned, err := w.m.execute(FromPod, frame, Context{Ifindex: w.m.Link(linkA)})
		w.must(err)
		if returned == returnPass {
			passed++
		}
	}
	if passed != 0 && passed != packets {
		w.t.Errorf("%d of %d packets passed: the verdict changes when the ring is full", passed, packets)
	}
	after, err := w.m.totals()
	w.must(err)
	events, err := w.m.drain(ring)
	w.must(err)
	emitted := after.rings[ring].Emitted - w.m.seen.rings[ring].Emitted
	lost := after.rings[ring].Lost - w.m.seen.rings[ring].Lost
	thinned := after.rings[ring].Thinned - w.m.seen.rings[ring].Thinned
	if len(events) != int(emitted) || emitted > fit || emitted < fit/2 || emitted+lost+thinned != packets {
		w.t.Errorf("%d events read, %d emitted, %d lost, %d thinned of %d, and %d fit", len(events), emitted, lost, thinned, packets, fit)
	}
	if ring == bpf.WeirRingRING_DENIED && lost != packets-fit {
		w.t.Errorf("%d denials lost, want %d", lost, packets-fit)
	}
}
