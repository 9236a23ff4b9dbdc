// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/weirnet/weir/bpf"
)

func TestAudit(t *testing.T) {
	audit := func(w *world) { w.mode(bpf.WeirModeMODE_AUDIT) }
	enforce := func(n uint32) step {
		return then(func(w *world) { w.mode(bpf.WeirModeMODE_ENFORCE); w.must(w.m.SetEpoch(n)) })
	}
	// dropped checks what the packet was counted as in drops.
	dropped := func(reason bpf.WeirReason) func(*world, Result) {
		return func(w *world, r Result) {
			w.t.Helper()
			for key := range r.Dropped {
				if bpf.WeirReason(key.Reason) == reason && bpf.WeirVerdict(key.Verdict) == bpf.WeirVerdictVERDICT_AUDITED {
					return
				}
			}
			w.t.Errorf("drops %v: want audited for reason %d", r.Dropped, reason)
		}
	}
	noRule := dropped(bpf.WeirReasonREASON_NO_RULE)
	table(t, machine(t, nil), func(f family) []row {
		syn, ack, reply := f.tcp("A:1000", "D:80", "S"), f.tcp("A:1000", "D:80", "A"), f.tcp("D:80", "A:1000", "SA")
		return []row{
			{"a miss passes", audit, []step{out(syn, "audited no-rule new").also(noRule), in(f.tcp("D:1", "A:1", "S"), "audited no-rule new").also(noRule)}},
			{"every packet of it counts", audit, []step{out(syn, "audited no-rule new"), in(reply, "audited *").also(noRule), out(ack, "audited *").also(noRule)}},
			{"its entry", audit, []step{out(syn, "audited no-rule new"), entry(protocolTCP, [2]string{"A:1000", "D:80"}, bpf.WeirFlow{
				Epoch: 1, Set: setOut, Initiator: local, Verdict: uint8(bpf.WeirVerdictVERDICT_AUDITED), Reason: uint8(bpf.WeirReasonREASON_NO_RULE), TxPackets: 1, TxBytes: size(syn), TcpTx: flagSYN})}},
			{"a hit is allowed", audit, []step{out(f.tcp("A:1000", "C:80", "S"), "allowed rule new"), in(f.tcp("C:80", "A:1000", "SA"), "allowed reply")}},
			{"a rule that denies", func(w *world) { audit(w); w.row(setOut, classD, protocolTCP, refuse(80, 80, 901)) }, []step{out(syn, "audited deny-rule new").also(dropped(bpf.WeirReasonREASON_DENY_RULE))}},
			{"then enforced", audit, []step{out(syn, "audited no-rule new"), enforce(2), out(ack, "denied revoked revoked")}},
			{"then enforced, seen by a reply", audit, []step{out(syn, "audited no-rule new"), enforce(2), in(reply, "denied revoked revoked")}},
			{"then allowed", audit, []step{out(syn, "audited no-rule new"), then(func(w *world) { w.row(setNewer, classD, protocolTCP, allow(80, 80, ruleNewer)) }),
				flip(setIn, setNewer, 2), out(ack, "allowed * freed"), out(ack, "allowed established")}},
			{"still audited in another epoch", audit, []step{out(syn, "audited no-rule new"), epoch(2), out(ack, "audited ...").also(noRule), in(reply, "audited ...")}},
			{"not ready is no miss", func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }, []step{out(syn, "denied not-ready")}},
		}
	})
}

// A live flow whose policy goes while its pod is audited passes, and says so.
func TestAuditRevokes(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		syn, ack := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A")
		audit := then(func(w *world) {
			w.change(func(e *bpf.WeirEndpoint) { e.SetEgress, e.Mode = setNone, uint8(bpf.WeirModeMODE_AUDIT) })
			w.must(w.m.SetEpoch(2))
		})
		return []row{
			{"an allowed flow", nil, []step{out(syn, "allowed rule new"), audit, out(ack, "audited * revoked"), out(ack, "audited *")}},
		}
	})
}

func TestNotReady(t *testing.T) {
	closed := func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }
	opened := func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY_OPEN) }
	table(t, machine(t, nil), func(f family) []row {
		syn := f.tcp("A:1000", "D:80", "S")
		return []row{
			{"denied", closed, []step{out(syn, "denied not-ready"), in(f.udp("C:1", "A:5000"), "denied not-ready")}},
			{"denied without sets", func(w *world) { w.change(func(e *bpf.WeirEndpoint) { *e = bpf.WeirEndpoint{} }) }, []step{out(syn, "denied not-ready"), in(f.udp("C:1", "A:5000"), "denied not-ready")}},
			{"open", opened, []step{out(syn, "allowed not-ready-open new"), in(f.tcp("D:80", "A:1000", "SA"), "allowed reply"), in(f.udp("C:1", "A:5000"), "allowed not-ready-open new")}},
			{"open, then ready and denied", opened, []step{out(syn, "allowed not-ready-open new"), then(func(w *world) { w.mode(bpf.WeirModeMODE_ENFORCE); w.must(w.m.SetEpoch(2)) }), out(f.tcp("A:1000", "D:80", "A"), "denied revoked revoked")}},
			{"an unknown mode denies", func(w *world) { w.mode(77) }, []step{out(syn, "denied ..."), in(f.udp("C:1", "A:5000"), "denied ...")}},
			{"spoofing is told first", closed, []step{out(syn.From(f.at("B")), "denied spoofed")}},
		}
	})
}
