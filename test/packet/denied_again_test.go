// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
)

// From its third denial within a second on, a tuple is dropped without being
// judged, until a table is written.
func TestDeniedAgain(t *testing.T) {
	m := machine(t, nil)
	table(t, m, func(f family) []row {
		const denied = "denied no-rule"
		no := f.tcp("A:1000", "D:80", "S")
		outside := f.tcp("A:1", "O:80", "S")
		open := interval{80, 80, ruleNewer, bpf.WeirActionACTION_ALLOW}
		return []row{
			{"nothing is judged anew", nil, append(thrice(out(no, denied)), unseen(opened), out(no, denied), then(moved), out(no, "allowed rule new"))},
			{"another tuple is judged", nil, append(thrice(out(no, denied)), unseen(opened), out(f.tcp("A:1001", "D:80", "S"), "allowed rule new"))},
			{"the second denial is judged", nil, []step{out(no, denied), unseen(opened), out(no, "allowed rule new")}},
			{"after a second it is judged", nil, append(thrice(out(no, denied)), unseen(opened), idle(2), out(no, "allowed rule new"))},
			{"without a revision it is judged", nil, append([]step{then(unrevised)}, append(thrice(out(no, denied)), unseen(opened), out(no, "allowed rule new"))...)},

			{"a row is written", nil, append(thrice(out(no, denied)), then(func(w *world) { w.row(setOut, classD, protocolTCP, open) }), out(no, "allowed rule new"))},
			{"a peer is written", nil, append(thrice(out(no, denied)), then(func(w *world) { w.must(w.m.PutPeer(f.at("D"), classC, 0)) }), out(no, "allowed rule new"))},
			{"a peer is deleted", func(w *world) { w.must(w.m.PutPeer(f.at("O"), classD, 0)) }, append(thrice(out(outside, denied)), then(func(w *world) { w.must(w.m.RemovePeer(f.at("O"))) }), out(outside, "allowed rule new"))},
			{"a block is written", nil, append(thrice(out(f.tcp("A:1", "X:80", "S"), denied)), then(func(w *world) {
				w.must(w.m.PutPrefix(netip.PrefixFrom(f.at("X"), f.at("X").BitLen()), classO))
			}), out(f.tcp("A:1", "X:80", "S"), "allowed rule new"))},
			{"the endpoint gets another set", nil, append(thrice(out(no, denied)), flip(setIn, 0, 2), out(no, "allowed not-isolated new"))},
			{"the endpoint is audited", nil, append(thrice(out(no, denied)), then(func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }), out(no, "audited no-rule new"))},
			{"the address goes to another pod", nil, append(thrice(out(no, denied)), then(func(w *world) { w.must(w.m.PutLocal(f.at("A"), w.m.Link(linkB))) }), out(no, "denied spoofed"))},
		}
	})
}

// What else than tables rules on a packet is asked for each.
func TestDeniedAgainButNotThis(t *testing.T) {
	m := machine(t, nil)
	table(t, m, func(f family) []row {
		const denied = "denied no-rule"
		fromNode9 := f.tcp("N:9", "A:80", "S")
		own := f.udp("X:7", "A:7")
		media := f.udp("A:5000", "C:77")
		rows := []row{
			{"sent by the node", nil, append(thrice(in(fromNode9, denied)), in(fromNode9, "allowed from-node new").via(fromNode))},
			{"sent by the pod itself", nil, append(thrice(in(own, denied)), in(own, "allowed own-traffic new").via(linkA))},
			{"the node's own denial says nothing of others", nil, append(thrice(in(f.udp("X:9", "A:9"), denied).via(fromNode)), in(f.udp("X:9", "A:9"), denied))},
			{"a flow that the other side has begun", nil, append(thrice(out(media, denied)), in(f.udp("C:77", "A:5000"), "allowed rule new"), out(media, "allowed reply"))},
			{"the other direction", nil, append(thrice(out(media, denied)), in(f.udp("C:77", "A:5000"), "allowed rule new"))},
			{"the middle of a connection", nil, append(thrice(out(f.tcp("A:443", "C:9", "S"), denied)), out(f.tcp("A:443", "C:9", "SA"), "allowed midstream new"))},
			{"another pod", func(w *world) {
				w.endpoint(linkB, bpf.WeirEndpoint{Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
			}, append(thrice(in(own, denied)), in(own, "allowed not-isolated new").at(linkB))},
		}
		if !f.is4() {
			return rows
		}
		answer := f.udp("X:67", "A:68")
		return append(rows, row{"an answer of DHCP", nil, append(thrice(in(answer, denied)),
			out(UDP(netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67")), "allowed configuration"),
			in(answer, "allowed configuration"))})
	})
}

// The place of a tuple may hold what was ruled on another.
func TestDeniedAgainComparesTheTuple(t *testing.T) {
	m := machine(t, nil)
	for _, f := range families() {
		for _, row := range []struct {
			name  string
			spoil func(*bpf.WeirDenied)
		}{
			{"peer", func(d *bpf.WeirDenied) { d.Key.Remote[15]++ }},
			{"port", func(d *bpf.WeirDenied) { d.Key.RemotePort++ }},
			{"protocol", func(d *bpf.WeirDenied) { d.Key.Protocol++ }},
			{"interface", func(d *bpf.WeirDenied) { d.Key.Ifindex++ }},
			{"direction", func(d *bpf.WeirDenied) { d.Direction = uint8(bpf.WeirDirectionDIR_INGRESS) }},
			{"nothing", nil},
		} {
			w := newWorld(t, m, f)
			no := f.tcp("A:1000", "D:80", "S")
			want := "allowed rule new"
			if row.spoil == nil {
				want = "denied no-rule"
			}
			w.play(append(thrice(out(no, "denied no-rule")), unseen(opened)))
			w.spoilDenied(row.spoil)
			if r := w.run(out(no, want)); !matches(want, r.String()) {
				t.Errorf("%s, another %s: got %q, want %q", f.name, row.name, r, want)
			}
		}
	}
}

// Each denial counts, judged or not.
func TestDeniedAgainIsCounted(t *testing.T) {
	w := newWorld(t, machine(t, nil), four())
	no := w.udp("A:1", "D:9")
	for n := range 50 {
		r := w.run(out(no, ""))
		suppressed := r.Rings[bpf.WeirRingRING_DENIED].Suppressed
		if !matches("denied no-rule", r.String()) || suppressed != min(uint64(n), 1) {
			t.Fatalf("denial %d: %q, %d suppressed", n, r, suppressed)
		}
	}
	w.must(w.m.Age(2 * time.Second))
	if e, one := w.run(out(no, "")).Event(); !one || e.Repeats != 49 {
		t.Errorf("event (one: %v) with %d repeats, want 49", one, e.Repeats)
	}
}

func thrice(s step) []step { return []step{s, s, s} }

// unseen does something of which the programs are not told.
func unseen(f func(*world)) step {
	return then(func(w *world) {
		w.t.Helper()
		revision := w.m.revision
		f(w)
		w.m.revision = revision - 1
		moved(w)
	})
}

// opened gives D a row.
func opened(w *world) {
	w.t.Helper()
	w.row(setOut, classD, protocolTCP, allow(80, 80, ruleNewer))
}

// moved tells the programs that a table was written.
func moved(w *world) { w.t.Helper(); w.must(w.m.moveRevision()) }

// unrevised is before the first write.
func unrevised(w *world) {
	w.t.Helper()
	w.must(put(w.m.objects.Revision, uint32(0), uint32(0)))
	w.m.revision = 0
}

// spoilDenied changes what was ruled in every place.
func (w *world) spoilDenied(spoil func(*bpf.WeirDenied)) {
	w.t.Helper()
	if spoil == nil {
		return
	}
	for place, denied := range w.denied() {
		spoil(&denied)
		w.must(put(w.m.objects.DeniedTuples, place, denied))
	}
}

// denied is what was ruled, by place.
func (w *world) denied() map[uint32]bpf.WeirDenied {
	w.t.Helper()
	all, err := entries[uint32, bpf.WeirDenied](w.m.objects.DeniedTuples)
	w.must(err)
	for place, denied := range all {
		if denied.Revision == 0 {
			delete(all, place)
		}
	}
	return all
}
