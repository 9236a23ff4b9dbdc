// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/weirnet/weir/bpf"
)

// A denied tuple is told at once, and then once a second with the number of
// denials that were not; every one of them is counted all the same.
func TestDenialsTold(t *testing.T) {
	m := machine(t, nil)
	table(t, m, func(f family) []row {
		// told wants an event with so many repeats; silent wants none.
		told := func(repeats uint32) func(*world, Result) {
			return func(w *world, r Result) {
				w.t.Helper()
				if e, one := r.Event(); !one || e.Repeats != repeats || e.Kind != uint8(bpf.WeirEventKindEVENT_NEW) {
					w.t.Errorf("event (one: %v) %+v: want a new one with %d repeats", one, e, repeats)
				}
			}
		}
		silent := func(w *world, r Result) {
			w.t.Helper()
			if e, one := r.Event(); one {
				w.t.Errorf("event %+v: want none", e)
			}
		}
		no, elsewhere := f.tcp("A:1000", "D:80", "S"), f.tcp("A:1000", "D:81", "S")
		const denied = "denied no-rule"
		return []row{
			{"the first at once, then none", nil, []step{out(no, denied).also(told(0)), out(no, denied).also(silent), out(no, denied).also(silent)}},
			{"with repeats after a second", nil, []step{out(no, denied).also(told(0)), out(no, denied), out(no, denied), idle(2), out(no, denied).also(told(2)), out(no, denied).also(silent), idle(2), out(no, denied).also(told(1))}},
			{"no repeats to tell", nil, []step{out(no, denied).also(told(0)), idle(2), out(no, denied).also(told(0))}},
			{"another tuple", nil, []step{out(no, denied).also(told(0)), out(elsewhere, denied).also(told(0)), out(no, denied).also(silent)}},
			{"another pod", func(w *world) {
				w.endpoint(linkB, bpf.WeirEndpoint{SetIngress: setNone, SetEgress: setNone, Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
			}, []step{in(f.udp("X:1", "A:9"), denied).also(told(0)), in(f.udp("X:1", "A:9"), denied).at(linkB).also(told(0)), in(f.udp("X:1", "A:9"), denied).also(silent)}},
			{"another tuple in the same place", nil, []step{out(f.udp("A:1", "C:53"), "allowed rule new"), then(occupy), out(no, denied).also(told(0)), out(no, denied).also(silent)}},
			{"a cut is told in any case", nil, []step{
				out(f.tcp("A:1000", "C:80", "S"), "allowed rule new"), flip(setIn, setNone, 2), out(f.tcp("A:1000", "C:80", "A"), "denied revoked revoked"), out(f.tcp("A:1000", "C:80", "A"), "denied revoked").also(told(0)),
				out(f.tcp("A:1000", "C:80", "A"), "denied revoked").also(silent)}},
			{"forgeries are held back too", nil, []step{out(no.From(f.at("X")), "denied spoofed").also(told(0)), out(no.From(f.at("X")), "denied spoofed").also(silent)}},
			{"what is allowed is never", nil, []step{out(f.udp("A:1", "C:53"), "allowed rule new"), out(f.udp("A:2", "C:53"), "allowed rule new")}},
		}
	})
}

// occupy puts another tuple, told just now, in every place.
func occupy(w *world) {
	w.t.Helper()
	flow, _ := w.flow(protocolUDP, "A:1", "C:53")
	values := make([]bpf.WeirDenial, w.m.objects.Denials.MaxEntries())
	for i := range values {
		values[i] = bpf.WeirDenial{Tag: 42, Told: flow.LastTx, Repeats: 9}
	}
	w.must(w.m.writeDenials(values))
}
