// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"slices"
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestFragments(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		// 8 bytes of header and 4+96 of payload.
		good, bad := f.udp("A:1000", "C:53").Pad(96), f.udp("A:1000", "C:54").Pad(96)
		in1 := f.udp("C:1000", "A:5000").Pad(96)
		syn := f.tcp("A:1000", "C:80", "S").Pad(80)
		open := func(w *world) { w.sets(0, 0) }
		audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
		noFlow := then(func(w *world) {
			w.t.Helper()
			if flows, err := w.m.Flows(); err != nil || len(flows) != 0 {
				w.t.Errorf("entries %v, %v: want none", flows, err)
			}
		})
		return []row{
			{"allowed, and the rest", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), out(good.Fragment(7, 48, 96), "allowed *"), out(good.Fragment(7, 96, 108), "allowed *")}},
			{"allowed, the rest is counted in no flow of port 0", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), out(good.Fragment(7, 48, 108), "allowed *"), none(protocolUDP, "A:0", "C:0")}},
			{"denied, and the rest", nil, []step{out(bad.Fragment(7, 0, 48), "denied no-rule"), out(bad.Fragment(7, 48, 108), "denied no-rule"), noFlow}},
			{"to the pod", nil, []step{in(in1.Fragment(7, 0, 48), "allowed rule new"), in(in1.Fragment(7, 48, 108), "allowed *")}},
			{"the reply in fragments", nil, []step{out(good, "allowed rule new"), in(f.udp("C:53", "A:1000").Pad(96).Fragment(9, 0, 48), "allowed *"), in(f.udp("C:53", "A:1000").Pad(96).Fragment(9, 48, 108), "allowed *")}},
			{"a later one without a first", nil, []step{out(good.Fragment(7, 48, 108), "denied fragment"), noFlow}},
			{"a later one with another identification", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), out(good.Fragment(8, 48, 108), "denied fragment")}},
			{"a later one from another source", nil, []step{in(in1.Fragment(7, 0, 48), "allowed rule new"), in(in1.Fragment(7, 48, 108).From(f.at("D")), "denied fragment")}},
			{"a later one of another protocol", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), out(f.other("A", "C", 50).Pad(96).Fragment(7, 48, 96), "denied fragment")}},
			{"the directions are apart", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), in(good.Fragment(7, 48, 108), "denied fragment")}},
			{"the pods are apart", nil, []step{in(in1.Fragment(7, 0, 48), "allowed rule new"), in(in1.Fragment(7, 48, 108), "denied fragment").at(linkB).isolated()}},
			{"a later one after 59 s", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), idle(58), out(good.Fragment(7, 48, 108), "allowed *")}},
			{"a later one after 61 s", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), idle(61), out(good.Fragment(7, 48, 108), "denied fragment")}},
			{"a later one in another epoch", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), epoch(2), out(good.Fragment(7, 48, 108), "denied fragment")}},
			{"a denied first one overrules an allowed one", nil, []step{out(good.Fragment(7, 0, 48), "allowed rule new"), out(bad.Fragment(7, 0, 48), "denied no-rule"), out(good.Fragment(7, 48, 108), "denied no-rule")}},
			{"TCP", nil, []step{out(syn.Fragment(7, 0, 48), "allowed rule new"), out(syn.Fragment(7, 48, 100), "allowed *")}},
			{"TCP at offset 1", nil, []step{out(syn.Fragment(7, 0, 48), "allowed rule new"), out(syn.Fragment(7, 8, 48), "denied fragment")}},
			{"TCP without its whole header", nil, []step{out(syn.Fragment(7, 0, 16), "denied fragment"), out(syn.Fragment(7, 16, 100), "denied fragment")}},
			{"SCTP without its whole header", nil, []step{out(f.sctp("A:9", "C:3868").Pad(40).Fragment(7, 0, 8), "denied fragment")}},
			{"SCTP with it", nil, []step{out(f.sctp("A:9", "C:3868").Pad(40).Fragment(7, 0, 16), "allowed rule new")}},
			{"UDP, header alone", nil, []step{out(good.Fragment(7, 0, 8), "allowed rule new"), out(good.Fragment(7, 8, 108), "allowed *")}},
			{"echo", nil, []step{out(f.echo("A", "O", 7).Pad(80).Fragment(7, 0, 48), "allowed rule new"), out(f.echo("A", "O", 7).Pad(80).Fragment(7, 48, 88), "allowed *"), in(f.reply("O", "A", 7), "allowed reply")}},
			{"ESP", nil, []step{out(f.other("A", "O", 50).Pad(72).Fragment(7, 0, 48), "allowed rule new"), out(f.other("A", "O", 50).Pad(72).Fragment(7, 48, 96), "allowed *")}},
			{"not isolated, a later one without a first", open, []step{out(good.Fragment(7, 48, 108), "allowed not-isolated"), in(in1.Fragment(7, 48, 108), "allowed not-isolated"), noFlow}},
			{"not isolated, the first is tracked", open, []step{out(good.Fragment(7, 0, 48), "allowed not-isolated new"), in(f.udp("C:53", "A:1000"), "allowed reply")}},
			{"not isolated, without the whole header", open, []step{out(syn.Fragment(7, 0, 16), "allowed not-isolated ...")}},
			{"audited, a later one without a first", audit, []step{out(good.Fragment(7, 48, 108), "audited fragment new"), noFlow}},
			{"audited, the first and the rest", audit, []step{out(bad.Fragment(7, 0, 48), "audited no-rule new"), out(bad.Fragment(7, 48, 108), "audited no-rule ...")}},
			{"from the node does not hold", nil, []step{in(f.udp("N:9", "A:9").Pad(96).Fragment(7, 0, 48), "denied no-rule").via(fromNode), in(f.udp("N:9", "A:9").Pad(96).Fragment(7, 48, 104), "denied no-rule").via(fromNode)}},
			{"a spoofed later one", nil, []step{out(good.Fragment(7, 48, 108).From(f.at("B")), "denied spoofed")}},
		}
	})
}

// isolated makes B an isolated pod before the step.
func (s step) isolated() step {
	play := s
	return then(func(w *world) {
		w.t.Helper()
		w.endpoint(linkB, bpf.WeirEndpoint{SetIngress: setIn, SetEgress: setOut, Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
		if r := w.run(play); !matches(play.want, r.String()) {
			w.t.Errorf("%s: got %q, want %q", play.hook, r, play.want)
		}
	})
}

// An IPv6 fragment that is all of its packet is no fragment.
func TestAtomicFragments(t *testing.T) {
	f := six()
	good := f.udp("A:1000", "C:53").Fragment(7, 0, 12)
	probe := f.udp("N:1000", "A:9").Fragment(7, 0, 12)
	// Destination options behind the fragment header: layer 4 is only in sight
	// where the fragment holds it.
	hidden := Other(f.at("A"), f.at("C"), Destinations, slices.Concat([]byte{protocolUDP, 0, 1, 4, 0, 0, 0, 0}, f.udp("A:1000", "C:53").Pad(96).segment)...)
	list(t, machine(t, nil), f, []row{
		{"options inside, layer 4 in the first", nil, []step{out(hidden.Fragment(7, 0, 48), "allowed rule new"), out(hidden.Fragment(7, 48, 116), "allowed *")}},
		{"options inside, layer 4 in the second", nil, []step{out(hidden.Fragment(7, 0, 8), "denied fragment"), out(hidden.Fragment(7, 8, 116), "denied fragment")}},
		{"two fragment headers", nil, []step{out(Other(f.at("A"), f.at("C"), protocolFragHdr, slices.Concat([]byte{protocolUDP, 0, 0, 0, 0, 0, 0, 1}, good.segment)...).Fragment(7, 0, 20), "denied malformed")}},
		{"judged as a whole packet", nil, []step{out(good, "allowed rule new"), out(good, "allowed established")}},
		{"vouches for no later one", nil, []step{out(good, "allowed rule new"), out(f.udp("A:1000", "C:53").Pad(96).Fragment(7, 48, 108), "denied fragment")}},
		{"from the node holds", nil, []step{in(probe, "allowed from-node new").via(fromNode)}},
		{"behind other headers", nil, []step{out(f.udp("A:1000", "C:53").Extend(Extension{HopByHop, 8}, Extension{Destinations, 16}).Fragment(7, 0, 12), "allowed rule new")}},
		{"a first one behind other headers", nil, []step{
			out(f.udp("A:1000", "C:53").Pad(96).Extend(Extension{Destinations, 8}).Fragment(7, 0, 48), "allowed rule new"),
			out(f.udp("A:1000", "C:53").Pad(96).Extend(Extension{Destinations, 8}).Fragment(7, 48, 108), "allowed *")}},
	})
}
