// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/weirnet/weir/bpf"
)

// newer gives set 22 the world's rules for C and TCP 80 under another rule id.
func newer(w *world) { w.row(setNewer, classC, protocolTCP, allow(80, 80, ruleNewer)) }

// told checks the direction, set and rule of the step's event.
func told(direction bpf.WeirDirection, set, rule uint32) func(*world, Result) {
	return func(w *world, r Result) {
		w.t.Helper()
		e, one := r.Event()
		if !one || e.Direction != uint8(direction) || e.Set != set || e.Rule != rule {
			w.t.Errorf("event (one: %v) of direction %d, set %d, rule %d: want %d, %d, %d", one, e.Direction, e.Set, e.Rule, direction, set, rule)
		}
	}
}

const (
	ingress = bpf.WeirDirectionDIR_INGRESS
	egress  = bpf.WeirDirectionDIR_EGRESS
)

func TestRecheck(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		syn, ack, reply := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A"), f.tcp("C:80", "A:1000", "A")
		ends := [2]string{"A:1000", "C:80"}
		has := func(check func(bpf.WeirFlow) bool, want string) step {
			return then(func(w *world) {
				w.t.Helper()
				if got, found := w.flow(protocolTCP, ends[0], ends[1]); !found || !check(got) {
					w.t.Errorf("entry (found: %v) %+v: want %s", found, got, want)
				}
			})
		}
		inEpoch := func(n uint32) step {
			return has(func(e bpf.WeirFlow) bool { return e.Epoch == n && e.Flags&uint8(bpf.WeirFlowFlagFLOW_TOMBSTONE) == 0 }, "a live one of the epoch")
		}
		tombstone := has(func(e bpf.WeirFlow) bool {
			return e.Verdict == 0 && e.Flags&uint8(bpf.WeirFlowFlagFLOW_TOMBSTONE) != 0 && e.Reason == uint8(bpf.WeirReasonREASON_REVOKED)
		}, "a tombstone, denied, revoked")
		return []row{
			{"nothing changed", nil, []step{out(syn, "allowed rule new"), epoch(2), out(ack, "allowed *"), inEpoch(2), in(reply, "allowed reply")}},
			{"nothing changed, seen by a reply", nil, []step{out(syn, "allowed rule new"), epoch(2), in(reply, "allowed *"), inEpoch(2), out(ack, "allowed established")}},
			{"cut, seen by the initiator", nil, []step{out(syn, "allowed rule new"), in(reply, "allowed reply"), flip(setIn, setNone, 2), out(ack, "denied revoked revoked").also(told(egress, setNone, 0)), tombstone}},
			{"cut, seen by a reply", nil, []step{out(syn, "allowed rule new"), in(reply, "allowed reply"), flip(setIn, setNone, 2), in(reply, "denied revoked revoked").also(told(egress, setNone, 0)), tombstone}},
			{"cut, incoming", nil, []step{in(f.tcp("C:9", "A:443", "S"), "allowed rule new"), flip(setNone, setOut, 2), out(f.tcp("A:443", "C:9", "SA"), "denied revoked revoked").also(told(ingress, setNone, 0))}},
			{"the other direction's set does not cut", nil, []step{out(syn, "allowed rule new"), flip(setNone, setOut, 2), in(reply, "allowed *"), out(ack, "allowed established")}},
			{"another rule", newer, []step{out(syn, "allowed rule new"), flip(setIn, setNewer, 2), out(ack, "allowed * freed").also(told(egress, setNewer, ruleNewer)),
				has(func(e bpf.WeirFlow) bool { return e.Set == setNewer && e.Rule == ruleNewer && e.Epoch == 2 }, "the newer rule"), out(ack, "allowed established")}},
			{"another rule, seen by a reply", newer, []step{out(syn, "allowed rule new"), flip(setIn, setNewer, 2), in(reply, "allowed * freed").also(told(egress, setNewer, ruleNewer))}},
			{"no longer isolated", nil, []step{out(syn, "allowed rule new"), flip(setIn, 0, 2), out(ack, "allowed * freed"), out(ack, "allowed established")}},
			{"isolated now, by rule", func(w *world) { w.sets(setIn, 0) }, []step{out(syn, "allowed not-isolated new"), flip(setIn, setOut, 2), out(ack, "allowed * freed").also(told(egress, setOut, ruleWeb))}},
			{"isolated now, and cut", func(w *world) { w.sets(0, 0) }, []step{out(f.tcp("A:1000", "X:80", "S"), "allowed not-isolated new"), flip(setIn, setOut, 2), out(f.tcp("A:1000", "X:80", "A"), "denied revoked revoked")}},
			{"the peer left its class", nil, []step{out(syn, "allowed rule new"), then(func(w *world) { w.must(w.m.PutPeer(f.at("C"), classD, 0)) }), out(ack, "allowed established"), epoch(2), out(ack, "denied revoked revoked")}},
			{"without a new epoch nothing is judged", nil, []step{out(syn, "allowed rule new"), then(func(w *world) { w.sets(setIn, setNone) }), out(ack, "allowed established")}},
			{"UDP cut", nil, []step{out(f.udp("A:1", "C:53"), "allowed rule new"), flip(setIn, setNone, 2), in(f.udp("C:53", "A:1"), "denied revoked revoked")}},
			{"echo cut", nil, []step{out(f.echo("A", "O", 3), "allowed rule new"), flip(setIn, setNone, 2), in(f.reply("O", "A", 3), "denied revoked revoked")}},
			{"echo kept", nil, []step{out(f.echo("A", "O", 3), "allowed rule new"), epoch(2), in(f.reply("O", "A", 3), "allowed *")}},
			{"not ready now", nil, []step{out(syn, "allowed rule new"), then(func(w *world) { w.mode(bpf.WeirModeMODE_NOT_READY) }), epoch(2), out(ack, "denied ...")}},
		}
	})
}

func TestTombstone(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		syn, ack, reply := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A"), f.tcp("C:80", "A:1000", "A")
		cut := func(more ...step) []step {
			return append([]step{out(syn, "allowed rule new"), in(reply, "allowed reply"), flip(setIn, setNone, 2), out(ack, "denied revoked revoked")}, more...)
		}
		free := func(w *world) { w.sets(setIn, setOut) }
		udp, answer := f.udp("A:1", "C:53"), f.udp("C:53", "A:1")
		return []row{
			{"denies the initiator", nil, cut(out(ack, "denied revoked"), out(ack, "denied revoked"))},
			{"denies the replies", nil, cut(in(reply, "denied revoked"))},
			{"denies what a rule of the same epoch would allow", nil, cut(then(free), out(ack, "denied revoked"))},
			{"is not taken up in the middle", nil, cut(then(free), in(reply, "denied revoked"))},
			{"a SYN is judged, denied", nil, cut(out(syn, "denied no-rule"), out(ack, "denied revoked"))},
			{"a SYN is judged, allowed", nil, cut(then(free), out(syn, "allowed rule new"), in(reply, "allowed reply"))},
			{"another epoch frees it", nil, cut(flip(setIn, setOut, 3), out(ack, "allowed * freed"), out(ack, "allowed established"), in(reply, "allowed reply"))},
			{"another epoch that still denies", nil, cut(epoch(3), out(ack, "denied revoked"), in(reply, "denied revoked"))},
			{"its packets keep it", nil, cut(then(free), idle(100), in(reply, "denied revoked"), idle(100), in(reply, "denied revoked"))},
			{"expires", nil, cut(then(free), idle(121), out(ack, "allowed rule new"))},
			{"UDP is judged anew, denied", nil, []step{out(udp, "allowed rule new"), flip(setIn, setNone, 2), out(udp, "denied revoked revoked"), out(udp, "denied no-rule"), in(answer, "denied no-rule")}},
			{"UDP is judged anew, allowed", nil, []step{out(udp, "allowed rule new"), flip(setIn, setNone, 2), out(udp, "denied revoked revoked"), then(free), out(udp, "allowed rule new"), in(answer, "allowed reply")}},
		}
	})
}

func TestKeepExisting(t *testing.T) {
	m := machine(t, func(o *Options) { o.Recheck = false })
	table(t, m, func(f family) []row {
		syn, ack, reply := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A"), f.tcp("C:80", "A:1000", "A")
		return []row{
			{"a live flow is kept", nil, []step{out(syn, "allowed rule new"), in(reply, "allowed reply"), flip(setIn, setNone, 2), out(ack, "allowed *"), in(reply, "allowed reply"),
				then(func(w *world) {
					if got, _ := w.flow(protocolTCP, "A:1000", "C:80"); got.Epoch != 2 || got.Set != setOut || got.Rule != ruleWeb {
						w.t.Errorf("entry %+v: want the old rule in the new epoch", got)
					}
				})}},
			{"a cut one is not kept cut", nil, []step{out(syn, "allowed rule new"), then(func(w *world) {
				key := w.key(protocolTCP, "A:1000", "C:80")
				flow, _, err := w.m.Flow(key)
				w.must(err)
				flow.Verdict, flow.Reason, flow.Flags = 0, uint8(bpf.WeirReasonREASON_REVOKED), uint8(bpf.WeirFlowFlagFLOW_TOMBSTONE)
				w.must(w.m.PutFlow(key, flow))
			}), out(ack, "denied revoked"), epoch(2), out(ack, "allowed * freed"), in(reply, "allowed reply")}},
			{"a new flow is judged", nil, []step{out(syn, "allowed rule new"), flip(setIn, setNone, 2), out(f.tcp("A:1001", "C:80", "S"), "denied no-rule")}},
		}
	})
}

// What was sticky keeps its reason when a reply meets another epoch.
func TestSticky(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		probe, answer := f.tcp("N:1000", "A:8080", "S"), f.tcp("A:8080", "N:1000", "SA")
		own, back := f.tcp("S:1000", "A:8080", "S"), f.tcp("A:8080", "S:1000", "SA")
		keeps := func(remote string, reason bpf.WeirReason) step {
			return then(func(w *world) {
				w.t.Helper()
				got, _ := w.flow(protocolTCP, "A:8080", remote)
				if got.Epoch != 2 || got.Reason != uint8(reason) || got.Flags&uint8(bpf.WeirFlowFlagFLOW_STICKY) == 0 {
					w.t.Errorf("entry %+v: want epoch 2, reason %d, sticky", got, reason)
				}
			})
		}
		return []row{
			{"from the node", nil, []step{in(probe, "allowed from-node new").via(fromNode), epoch(2), out(answer, "allowed *"), keeps("N:1000", bpf.WeirReasonREASON_FROM_NODE)}},
			{"from the node, its next packet", nil, []step{in(probe, "allowed from-node new").via(fromNode), epoch(2), in(f.tcp("N:1000", "A:8080", "A"), "allowed *").via(fromNode)}},
			{"own traffic", nil, []step{in(own, "allowed own-traffic new").via(linkA), epoch(2), out(back, "allowed *"), keeps("S:1000", bpf.WeirReasonREASON_OWN_TRAFFIC)}},
		}
	})
}
