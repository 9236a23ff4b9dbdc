// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"testing"

	"github.com/weirnet/weir/bpf"
)

// The kernel recycles the elements of a hash under its readers. No test can
// hold a reader between two instructions; what it would then read stands here
// in the tables for good: a value that repeats another key. It must never be
// taken for the value of the key that was asked for.
func TestRecycled(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		endpointOfB := func(w *world) {
			w.must(w.m.PutEndpointAt(w.m.Link(linkA), bpf.WeirEndpoint{Ifindex: w.m.Link(linkB), Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)}))
		}
		peer := func(at, of string, class uint32, flags bpf.WeirPeerFlag) func(*world) {
			return func(w *world) { w.must(w.m.PutPeerAt(f.at(at), f.at(of), class, flags)) }
		}
		owner := func(at, of string) func(*world) {
			return func(w *world) { w.must(w.m.PutLocalAt(f.at(at), f.at(of), w.m.Link(linkA))) }
		}
		toD, toC, toO := f.tcp("A:1000", "D:80", "S"), f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "O:80", "S")
		open := func(w *world) { w.sets(0, 0) }
		first, later := f.udp("A:1000", "C:53").Pad(96).Fragment(7, 0, 48), f.udp("A:1000", "C:53").Pad(96).Fragment(7, 48, 108)
		return []row{
			{"an open pod's endpoint", endpointOfB, []step{out(toD, "denied not-ready"), in(f.tcp("C:1", "A:22", "S"), "denied not-ready")}},
			{"a pod's endpoint, a live flow is not cut", nil, []step{out(toC, "allowed rule new"), epoch(2), then(endpointOfB), out(f.tcp("A:1000", "C:80", "A"), "denied not-ready"), then(func(w *world) { w.sets(setIn, setOut) }), out(f.tcp("A:1000", "C:80", "A"), "allowed established")}},
			{"an allowed peer", peer("D", "C", classC, 0), []step{out(toD, "denied not-ready")}},
			{"an allowed peer, inside an allowed block", peer("O", "C", classC, 0), []step{out(toO, "denied not-ready")}},
			{"a denied peer is not found either", peer("C", "D", classD, 0), []step{out(toC, "denied not-ready")}},
			{"a peer, a live flow is not cut", nil, []step{out(toC, "allowed rule new"), epoch(2), then(peer("C", "D", classD, 0)), out(f.tcp("A:1000", "C:80", "A"), "denied not-ready"), then(peer("C", "C", classC, 0)), out(f.tcp("A:1000", "C:80", "A"), "allowed established")}},
			{"a Service", peer("D", "S", 0, bpf.WeirPeerFlagPEER_SERVICE), []step{out(toD, "denied not-ready")}},
			{"the node", peer("D", "N", 0, bpf.WeirPeerFlagPEER_NODE), []step{in(f.tcp("D:9", "A:9", "S"), "denied not-ready").via(fromNode)}},
			{"a peer of a pod that is not isolated", func(w *world) { open(w); peer("D", "C", classC, 0)(w) }, []step{out(toD, "allowed not-isolated new")}},
			{"a tunnel of the node, perhaps", func(w *world) {
				open(w)
				w.must(w.m.PutTunnel(8472))
				peer("N", "C", classC, 0)(w)
			}, []step{out(f.udp("A:1", "N:8472"), "denied overlay")}},
			{"an own address", owner("X", "A"), []step{out(f.tcp("A:1000", "C:80", "S").From(f.at("X")), "denied spoofed")}},
			{"the binding of the own address", owner("A", "X"), []step{out(toC, "denied spoofed")}},
			{"a flow", nil, []step{out(toC, "allowed rule new"), then(retag), out(f.tcp("A:1000", "C:80", "A"), "allowed rule ..."), then(repair)}},
			{"a flow of a denied tuple", nil, []step{out(toC, "allowed rule new"), then(retag), flip(setIn, setNone, 1), out(f.tcp("A:1000", "C:80", "A"), "denied no-rule"), then(repair)}},
			{"a first fragment", nil, []step{out(first, "allowed rule new"), then(rekey), out(later, "denied fragment"), then(repair)}},
		}
	})
}

// retag gives every flow the tag of another tuple.
func retag(w *world) {
	w.t.Helper()
	flows, err := w.m.Flows()
	w.must(err)
	for key, flow := range flows {
		flow.Tag ^= 1
		w.must(w.m.PutFlow(key, flow))
	}
}

// rekey makes every fragment repeat another key.
func rekey(w *world) {
	w.t.Helper()
	fragments, err := w.m.Fragments()
	w.must(err)
	for key, fragment := range fragments {
		fragment.Key.Id++
		w.must(w.m.PutFragment(key, fragment))
	}
}

// repair undoes both: every case ends with tables that are sound.
func repair(w *world) {
	w.t.Helper()
	flows, err := w.m.Flows()
	w.must(err)
	for key, flow := range flows {
		flow.Tag = tagOf(key)
		w.must(w.m.PutFlow(key, flow))
	}
	fragments, err := w.m.Fragments()
	w.must(err)
	for key, fragment := range fragments {
		fragment.Key = key
		w.must(w.m.PutFragment(key, fragment))
	}
}

// tagOf is what an entry of this key carries: the interface, the last words of
// the addresses and the ports xor-ed, and folded.
func tagOf(key bpf.WeirFlowKey) uint16 {
	last := func(a [16]uint8) uint32 { return binary.NativeEndian.Uint32(a[12:]) }
	all := key.Ifindex ^ last(key.Local) ^ last(key.Remote) ^ uint32(key.LocalPort) ^ uint32(key.RemotePort)<<16
	return uint16(all ^ all>>16*3)
}
