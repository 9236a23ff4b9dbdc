// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestFromNode(t *testing.T) {
	sealed := func(w *world) { w.sets(setNone, setNone) }
	table(t, machine(t, nil), func(f family) []row {
		probe := f.tcp("N:1000", "A:8080", "S")
		sticky := func(w *world) {
			w.t.Helper()
			if got, _ := w.flow(protocolTCP, "A:8080", "N:1000"); got.Flags&uint8(bpf.WeirFlowFlagFLOW_STICKY) == 0 || got.Initiator != remote || got.Rule != 0 {
				w.t.Errorf("entry %+v: want the node's, sticky, without a rule", got)
			}
		}
		return []row{
			{"a probe", sealed, []step{in(probe, "allowed from-node new").via(fromNode), then(sticky), out(f.tcp("A:8080", "N:1000", "SA"), "allowed reply"), in(f.tcp("N:1000", "A:8080", "A"), "allowed established").via(fromNode)}},
			{"an echo", sealed, []step{in(f.echo("N", "A", 1), "allowed from-node new").via(fromNode), out(f.reply("A", "N", 1), "allowed reply")}},
			{"the node's address from outside", sealed, []step{in(probe, "denied no-rule").via(linkUp)}},
			{"the node's address from another pod", sealed, []step{in(probe, "denied no-rule").via(linkB)}},
			{"another address, sent by the node", sealed, []step{in(f.tcp("X:1000", "A:8080", "S"), "denied no-rule").via(fromNode)}},
			{"a Service's address, sent by the node", sealed, []step{in(f.tcp("S:1000", "A:8080", "S"), "denied no-rule").via(fromNode)}},
			{"not ready", func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }, []step{in(probe, "allowed from-node new").via(fromNode)}},
			{"own traffic", sealed, []step{in(f.tcp("S:1000", "A:8080", "S"), "allowed own-traffic new").via(linkA), out(f.tcp("A:8080", "S:1000", "SA"), "allowed reply")}},
			{"own traffic is not told by addresses", sealed, []step{in(f.tcp("A:1000", "A:8080", "S"), "denied no-rule").via(linkUp)}},
			{"own traffic, not ready", func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }, []step{in(f.tcp("A:1000", "A:8080", "S"), "allowed own-traffic new").via(linkA)}},
			{"without a SYN", sealed, []step{in(f.tcp("N:1000", "A:8080", "A"), "allowed from-node new").via(fromNode)}},
			{"answers to the node need the flow", sealed, []step{out(f.tcp("A:8080", "C:1000", "SA"), "denied no-rule")}},
		}
	})
}

func TestTranslated(t *testing.T) {
	sealed := func(w *world) { w.sets(setIn, setNone); w.must(w.m.PutTranslated(protocolTCP, 30080)) }
	open := func(w *world) { w.sets(0, 0); w.must(w.m.PutTranslated(protocolTCP, 30080)) }
	audit := func(w *world) {
		sealed(w)
		w.change(func(e *bpf.WeirEndpoint) { e.SetEgress, e.Mode = setNone, uint8(bpf.WeirModeMODE_AUDIT) })
	}
	notReady := func(w *world) { sealed(w); w.mode(bpf.WeirModeMODE_NOT_READY) }
	anyPeer := func(w *world) {
		sealed(w)
		w.change(func(e *bpf.WeirEndpoint) { e.Flags = uint8(bpf.WeirEndpointFlagEP_EGRESS_ANY) })
		w.row(setOut, 0, 0, allow(0, whole, 801))
	}
	deferred := func(remote string, want bool) step {
		return then(func(w *world) {
			w.t.Helper()
			if got, found := w.flow(protocolTCP, "A:1000", remote); !found || (got.Flags&uint8(bpf.WeirFlowFlagFLOW_DEFERRED) != 0) != want {
				w.t.Errorf("entry (found: %v) %+v: deferred should be %v", found, got, want)
			}
		})
	}
	t.Run("no hook", func(t *testing.T) {
		table(t, machine(t, nil), func(f family) []row {
			return []row{
				{"a Service", sealed, []step{out(f.tcp("A:1000", "S:80", "S"), "denied no-hook")}},
				{"a Service, though a rule allows everything", anyPeer, []step{out(f.tcp("A:1000", "S:80", "S"), "denied no-hook")}},
				{"a Service, audited", audit, []step{out(f.tcp("A:1000", "S:80", "S"), "audited no-hook new")}},
				{"a Service, not isolated", open, []step{out(f.tcp("A:1000", "S:80", "S"), "allowed not-isolated new"), deferred("S:80", true), in(f.tcp("S:80", "A:1000", "SA"), "allowed reply")}},
				{"a Service, not ready", notReady, []step{out(f.tcp("A:1000", "S:80", "S"), "denied not-ready")}},
				{"a translated port of the node", sealed, []step{out(f.tcp("A:1000", "N:30080", "S"), "denied no-hook")}},
				{"a translated port of the node, not isolated", open, []step{out(f.tcp("A:1000", "N:30080", "S"), "allowed not-isolated new"), deferred("N:30080", true)}},
				{"another port of the node", sealed, []step{out(f.tcp("A:1000", "N:10250", "S"), "allowed to-node new"), in(f.tcp("N:10250", "A:1000", "SA"), "allowed reply").via(fromNode)}},
				{"another port of the node, not isolated", open, []step{out(f.tcp("A:1000", "N:10250", "S"), "allowed not-isolated new"), deferred("N:10250", false)}},
				{"the same port of UDP", sealed, []step{out(f.udp("A:1000", "N:30080"), "allowed to-node new")}},
				{"an echo to the node", sealed, []step{out(f.echo("A", "N", 1), "allowed to-node new")}},
				{"the node, not ready", notReady, []step{out(f.tcp("A:1000", "N:10250", "S"), "denied not-ready")}},
				{"the translated port of a peer", sealed, []step{out(f.tcp("A:1000", "C:30080", "S"), "denied no-rule")}},
			}
		})
	})
	t.Run("hook", func(t *testing.T) {
		table(t, machine(t, func(o *Options) { o.ForwardHook = true }), func(f family) []row {
			return []row{
				{"a Service", sealed, []step{out(f.tcp("A:1000", "S:80", "S"), "allowed deferred new"), deferred("S:80", true), in(f.tcp("S:80", "A:1000", "SA"), "allowed reply")}},
				{"a translated port of the node", sealed, []step{out(f.tcp("A:1000", "N:30080", "S"), "allowed deferred new"), deferred("N:30080", true)}},
				{"another port of the node", sealed, []step{out(f.tcp("A:1000", "N:10250", "S"), "allowed deferred new"), deferred("N:10250", true)}},
				{"an echo to the node", sealed, []step{out(f.echo("A", "N", 1), "allowed to-node new")}},
				{"a peer", sealed, []step{out(f.tcp("A:1000", "C:80", "S"), "denied no-rule")}},
				{"not isolated", open, []step{out(f.tcp("A:1000", "S:80", "S"), "allowed not-isolated new"), deferred("S:80", true)}},
			}
		})
	})
}
