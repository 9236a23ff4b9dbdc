// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/weirnet/weir/bpf"
)

// A pod that policy isolates may call its node at any port; but who answers,
// and whom the pod answers in truth, is asked for each packet: the node's
// address also stands for masqueraded clients.
func TestCallsNode(t *testing.T) {
	sealed := func(w *world) { w.sets(setNone, setNone); w.must(w.m.PutTranslated(protocolUDP, 30080)) }
	admits := func(w *world) { w.sets(setIn, setNone); w.row(setIn, classN, protocolTCP, allow(443, 443, 801)) }
	about := func(f family, p Packet) Packet { return Unreachable(f.at("N"), f.at("A"), p) }
	const no, yes = "denied no-rule", "allowed reply"

	// What holds with and without a hook, and without a lookup of conntrack.
	common := func(f family, called string) []row {
		ask, answer := f.udp("A:1000", "N:53"), f.udp("N:53", "A:1000")
		port, back := f.udp("A:1000", "N:30080"), f.udp("N:30080", "A:1000")
		return []row{
			{"answered by the node", sealed, []step{out(ask, called), in(answer, yes).via(fromNode), in(answer, yes).via(fromNode), out(ask, "allowed established")}},
			{"answered by another", sealed, []step{out(ask, called), in(answer, no).via(linkUp)}},
			{"answered by another once the node has", sealed, []step{out(ask, called), in(answer, yes).via(fromNode), in(answer, no).via(linkUp), out(ask, "allowed established"), in(answer, yes).via(fromNode)}},
			{"answered by another pod", sealed, []step{out(ask, called), in(answer, no).via(linkB)}},
			{"another calls whom policy admits", admits, []step{out(f.tcp("A:443", "N:9", "S"), "allowed "+called[len("allowed "):]), in(f.tcp("N:9", "A:443", "S"), "allowed rule new").via(linkUp), out(f.tcp("A:443", "N:9", "SA"), yes)}},
			{"an answer in fragments", sealed, []step{out(ask, called), in(answer.Pad(96).Fragment(7, 0, 48), yes).via(fromNode), in(answer.Pad(96).Fragment(7, 48, 108), "allowed *").via(fromNode)}},
			{"fragments of another", sealed, []step{out(ask, called), in(answer.Pad(96).Fragment(7, 0, 48), no).via(linkUp), in(answer.Pad(96).Fragment(7, 48, 108), no).via(linkUp)}},
			{"an error of the node", sealed, []step{out(ask, called), in(about(f, ask), "allowed related").via(fromNode)}},
			{"an error of another", sealed, []step{out(ask, called), in(about(f, ask), no).via(linkUp)}},
			{"an echo", sealed, []step{out(f.echo("A", "N", 7), "allowed to-node new"), in(f.reply("N", "A", 7), yes).via(fromNode), in(f.reply("N", "A", 7), no).via(linkUp)}},
			{"in another epoch", sealed, []step{out(ask, called), epoch(2), in(answer, no).via(linkUp), in(answer, yes).via(fromNode), epoch(3), out(ask, "allowed established"), in(answer, no).via(linkUp)}},
			{"audited", func(w *world) {
				w.change(func(e *bpf.WeirEndpoint) {
					e.SetIngress, e.SetEgress, e.Mode = setNone, setNone, uint8(bpf.WeirModeMODE_AUDIT)
				})
			}, []step{out(ask, called), in(answer, "audited no-rule new").via(linkUp)}},
			{"not isolated for egress, answered by whomever", func(w *world) { w.sets(setNone, 0) }, []step{out(ask, "allowed not-isolated new"), in(answer, yes).via(linkUp)}},
			{"a port that the node translates, without a lookup", func(w *world) { sealed(w); w.sets(setNone, 0) }, []step{out(port, "allowed not-isolated new"), in(back, yes).via(linkUp)}},
		}
	}
	t.Run("no hook", func(t *testing.T) {
		table(t, machine(t, nil), func(f family) []row {
			return append(common(f, "allowed to-node new"),
				row{"a SYN-ACK begins nothing", sealed, []step{out(f.tcp("A:443", "N:9", "SA"), no), out(f.tcp("A:443", "N:9", "S"), "allowed to-node new"), out(f.tcp("A:443", "N:9", "SA"), no)}},
				row{"a SYN-ACK to whom policy admits", admits, []step{out(f.tcp("A:443", "N:9", "SA"), "allowed midstream new")}},
				row{"an echo reply begins nothing", sealed, []step{out(f.reply("A", "N", 7), no)}},
			)
		})
	})
	t.Run("hook", func(t *testing.T) {
		table(t, machine(t, func(o *Options) { o.ForwardHook = true }), func(f family) []row {
			return append(common(f, "allowed deferred new"),
				row{"a translated port, answered from anywhere", sealed, []step{out(f.udp("A:1000", "N:30080"), "allowed deferred new"), in(f.udp("N:30080", "A:1000"), yes).via(linkUp)}},
				row{"another protocol's translated port", sealed, []step{out(f.tcp("A:1000", "N:30080", "S"), "allowed deferred new"), in(f.tcp("N:30080", "A:1000", "SA"), no).via(linkUp)}},
				row{"a SYN-ACK goes to the hook, marked", sealed, []step{out(f.tcp("A:443", "N:9", "SA"), "allowed deferred new")}},
			)
		})
	})
}

// The same where conntrack can be asked.
func TestCallsNodeTracked(t *testing.T) {
	if err := bpf.ConntrackLookup(); err != nil {
		t.Skip(err)
	}
	const no, yes = "denied no-rule", "allowed reply"
	tracked := func(src, dst string) func(*world) {
		return func(w *world) {
			w.sets(setNone, setNone)
			w.must(w.m.PutTranslated(protocolTCP, 30080))
			w.track(src, dst)
		}
	}
	for _, hook := range []bool{false, true} {
		table(t, machine(t, func(o *Options) { o.Conntrack, o.ForwardHook = true, hook }), func(f family) []row {
			called, answers := "allowed to-node new", no
			if hook {
				called, answers = "allowed deferred new", "allowed deferred new"
			}
			return []row{
				{"the pod answers what another began", tracked("N:9", "A:443"), []step{out(f.tcp("A:443", "N:9", "A"), answers)}},
				{"the pod answers what another began, as if beginning", tracked("N:9", "A:443"), []step{out(f.tcp("A:443", "N:9", "S"), answers)}},
				{"the pod answers, and its entry was lost", func(w *world) { tracked("N:9", "A:443")(w); w.sets(0, setNone) }, []step{out(f.tcp("A:443", "N:9", "A"), "allowed midstream new"), in(f.tcp("N:9", "A:443", "A"), "allowed established").via(linkUp)}},
				{"the pod has called, and is answered", tracked("A:1000", "N:9"), []step{out(f.tcp("A:1000", "N:9", "S"), called), in(f.tcp("N:9", "A:1000", "SA"), yes).via(linkUp)}},
				{"an error about what the pod has called", tracked("A:1000", "N:9"), []step{out(f.tcp("A:1000", "N:9", "S"), called), in(Unreachable(f.at("X"), f.at("A"), f.tcp("A:1000", "N:9", "S")), "allowed related").via(linkUp)}},
				{"an error about what another began since", func(w *world) {
					tracked("X:1", "X:2")(w)
					w.play([]step{out(f.tcp("A:443", "N:9", "S"), called)})
					w.track("N:9", "A:443")
				}, []step{out(Unreachable(f.at("A"), f.at("N"), f.tcp("N:9", "A:443", "S")), map[bool]string{true: "allowed related", false: no}[hook])}},
				{"another calls from a translated port", func(w *world) { tracked("N:30080", "A:443")(w) }, []step{in(f.tcp("N:30080", "A:443", "S"), no).via(linkUp)}},
			}
		})
	}
	table(t, machine(t, func(o *Options) { o.Conntrack, o.ForwardHook = true, true }), func(f family) []row {
		return []row{
			{"from a translated port, what another began", tracked("N:30080", "A:443"), []step{out(f.tcp("A:443", "N:30080", "S"), "allowed deferred new"), in(f.tcp("N:30080", "A:443", "SA"), no).via(linkUp)}},
			{"from a translated port, what nobody began", tracked("N:1", "A:1"), []step{out(f.tcp("A:443", "N:30080", "S"), "allowed deferred new"), in(f.tcp("N:30080", "A:443", "SA"), no).via(linkUp)}},
			{"an error about what another began", tracked("N:9", "A:443"), []step{out(f.tcp("A:443", "N:9", "S"), "allowed deferred new"), in(Unreachable(f.at("X"), f.at("A"), f.tcp("A:443", "N:9", "S")), no).via(linkUp)}},
		}
	})
}
