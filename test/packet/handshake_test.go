// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// A SYN without ACK begins a connection, or does not.
func TestSYN(t *testing.T) {
	m := machine(t, func(o *Options) { o.MidstreamStrict = true })
	table(t, m, func(f family) []row {
		syn, synAck := f.tcp("A:1000", "C:80", "S"), f.tcp("C:80", "A:1000", "SA")
		open := []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), out(f.tcp("A:1000", "C:80", "A"), "allowed established")}
		back := f.tcp("C:80", "A:1000", "S")
		// The peer may open to A's port 443 and the pod to the peer's 1000.
		both := func(w *world) { w.row(setIn, classC, protocolTCP, allow(1000, 1000, 601)) }
		closed := slices.Clip(append(open, out(f.tcp("A:1000", "C:80", "R"), "allowed established")))
		return []row{
			{"repeated", nil, []step{out(syn, "allowed rule new"), out(syn, "allowed established")}},
			{"repeated on an open connection", nil, append(open, out(syn, "allowed established"))},
			{"from the other side, denied", nil, append(open, in(back, "denied no-rule"),
				in(f.tcp("C:80", "A:1000", "A"), "allowed reply"), out(f.tcp("A:1000", "C:80", "A"), "allowed established"))},
			{"from the other side, allowed", both, append(open, in(back, "allowed rule new"),
				out(f.tcp("A:1000", "C:80", "SA"), "allowed reply"), in(f.tcp("C:80", "A:1000", "A"), "allowed established"),
				then(func(w *world) {
					got, _ := w.flow(protocolTCP, "A:1000", "C:80")
					if got.Initiator != remote || got.Set != setIn || got.Rule != 601 || got.RxPackets != 2 || got.TxPackets != 1 || got.TcpTx != flagBoth {
						w.t.Errorf("entry %+v: want one begun by the peer under rule 601, 2 packets in and 1 out", got)
					}
				}))},
			{"simultaneous open, denied one way", nil, []step{out(syn, "allowed rule new"), in(back, "denied no-rule"), in(synAck, "allowed reply")}},
			{"on a closed entry, a new connection", nil, append(closed, out(syn, "allowed rule new"),
				then(func(w *world) {
					if got, _ := w.flow(protocolTCP, "A:1000", "C:80"); got.TxPackets != 1 || got.RxPackets != 0 || got.TcpTx != flagSYN || got.Flags != 0 {
						w.t.Errorf("entry %+v: want a fresh one", got)
					}
				}))},
			{"on a closed entry, no longer allowed in its epoch", nil, append(closed, then(func(w *world) { w.sets(setIn, setNone) }), out(syn, "denied no-rule"))},
			{"on a closed entry, from the other side, denied", nil, append(closed, in(back, "denied no-rule"))},
			{"SYN and ACK do not begin one", func(w *world) { w.sets(setNone, setNone) }, []step{in(synAck, "denied no-rule"), out(f.tcp("A:1000", "C:80", "SA"), "denied no-rule")}},
		}
	})
}

func TestMidstream(t *testing.T) {
	midstream := uint8(bpf.WeirFlowFlagFLOW_MIDSTREAM)
	reason := uint8(bpf.WeirReasonREASON_MIDSTREAM)
	rows := func(strict bool) func(family) []row {
		taken := map[bool]string{false: "allowed midstream new", true: "denied no-rule"}[strict]
		return func(f family) []row {
			reply, answer := f.tcp("C:80", "A:1000", "A"), f.tcp("A:443", "C:1000", "A")
			flagged := func(w *world) {
				got, found := w.flow(protocolTCP, "A:1000", "C:80")
				if !found || got.Flags&midstream == 0 || got.Initiator != local {
					w.t.Errorf("entry (found: %v) %+v: want one of the pod's, flagged mid-stream", found, got)
				}
			}
			rows := []row{
				{"the initiator's packet, by rule", nil, []step{out(f.tcp("A:1000", "C:80", "A"), "allowed rule new"), then(flagged), in(reply, "allowed reply")}},
				{"the initiator's packet, not isolated", func(w *world) { w.sets(0, 0) }, []step{out(f.tcp("A:1000", "C:80", "A"), "allowed not-isolated new"), then(flagged)}},
				{"to the pod, egress allows the peer's port", nil, []step{in(reply, taken)}},
				{"to the pod, egress does not", nil, []step{in(f.tcp("C:81", "A:1000", "A"), "denied no-rule")}},
				{"to the pod, egress not isolated is not enough", func(w *world) { w.sets(setIn, 0) }, []step{in(reply, "denied no-rule")}},
				{"to the pod, another peer", nil, []step{in(f.tcp("D:80", "A:1000", "A"), "denied no-rule")}},
				{"from the pod, ingress allows its port", nil, []step{out(answer, taken)}},
				{"from the pod, ingress does not", nil, []step{out(f.tcp("A:444", "C:1000", "A"), "denied no-rule")}},
				{"from the pod, ingress not isolated is not enough", func(w *world) { w.sets(0, setOut) }, []step{out(answer, "denied no-rule")}},
				{"a SYN is never taken for a reply", nil, []step{in(f.tcp("C:80", "A:1000", "S"), "denied no-rule")}},
				{"UDP is never", nil, []step{in(f.udp("C:53", "A:1000"), "denied no-rule")}},
			}
			if strict {
				return rows
			}
			return append(rows,
				row{"the entry's initiator is the pod", nil, []step{in(reply, taken),
					entry(protocolTCP, [2]string{"A:1000", "C:80"}, bpf.WeirFlow{Epoch: 1, Set: setOut, Rule: ruleWeb, Initiator: local, Verdict: allowed, Reason: reason,
						Flags: midstream, RxPackets: 1, RxBytes: size(reply), TcpRx: uint8(ACK)}),
					out(f.tcp("A:1000", "C:80", "A"), "allowed established"), in(reply, "allowed reply"), idle(86400), in(reply, "allowed reply")}},
				// Bare ACKs alone make no entry that stays.
				row{"expires unless its initiator is seen", nil, []step{in(reply, taken), in(reply, "allowed reply"), idle(121), in(reply, taken)}},
				row{"the entry's initiator is the peer", nil, []step{out(answer, taken).also(func(w *world, r Result) {
					if e, _ := r.Event(); e.Initiator != remote || e.Set != setIn || e.Rule != ruleTLS || e.Direction != uint8(bpf.WeirDirectionDIR_INGRESS) {
						w.t.Errorf("event %+v: want the peer's, by rule %d of set %d, ingress", e, ruleTLS, setIn)
					}
				}), in(f.tcp("C:1000", "A:443", "A"), "allowed established")}},
			)
		}
	}
	t.Run("rules", func(t *testing.T) { table(t, machine(t, nil), rows(false)) })
	t.Run("strict", func(t *testing.T) {
		table(t, machine(t, func(o *Options) { o.MidstreamStrict = true }), rows(true))
	})
}

// A connection that the kernel tracks is taken up where the reverse direction
// allows it, by rule or because it is not isolated, in strict mode too.
func TestConntrack(t *testing.T) {
	if err := bpf.ConntrackLookup(); err != nil {
		t.Skip(err)
	}
	m := machine(t, func(o *Options) { o.MidstreamStrict, o.Conntrack = true, true })
	table(t, m, func(f family) []row {
		tracked := func(in, out uint32, src, dst string) func(*world) {
			return func(w *world) { w.sets(in, out); w.track(src, dst) }
		}
		reply, answer := f.tcp("C:80", "A:1000", "A"), f.tcp("A:443", "C:1000", "A")
		return []row{
			{"to the pod, by rule", tracked(setIn, setOut, "A:1000", "C:80"), []step{in(reply, "allowed midstream new")}},
			{"to the pod, not isolated", tracked(setNone, 0, "A:1000", "C:80"), []step{in(reply, "allowed midstream new")}},
			{"to the pod, the reverse denies", tracked(setNone, setNone, "A:1000", "C:80"), []step{in(reply, "denied no-rule")}},
			{"to the pod, tracked the other way round", tracked(setNone, 0, "C:80", "A:1000"), []step{in(reply, "denied no-rule")}},
			{"to the pod, another port is tracked", tracked(setNone, 0, "A:1001", "C:80"), []step{in(reply, "denied no-rule")}},
			{"to the pod, a SYN", tracked(setNone, 0, "A:1000", "C:80"), []step{in(f.tcp("C:80", "A:1000", "S"), "denied no-rule")}},
			{"from the pod, by rule", tracked(setIn, setNone, "C:1000", "A:443"), []step{out(answer, "allowed midstream new")}},
			{"from the pod, not isolated", tracked(0, setNone, "C:1000", "A:443"), []step{out(answer, "allowed midstream new")}},
			{"from the pod, the reverse denies", tracked(setNone, setNone, "C:1000", "A:443"), []step{out(answer, "denied no-rule")}},
		}
	})
}

// track puts an established TCP connection into the namespace's conntrack, in
// place of all others.
func (w *world) track(src, dst string) {
	w.t.Helper()
	from, to := w.port(src), w.port(dst)
	family := netlink.InetFamily(unix.AF_INET6)
	if w.is4() {
		family = unix.AF_INET
	}
	flow := &netlink.ConntrackFlow{
		FamilyType: uint8(family), TimeOut: 600, ProtoInfo: &netlink.ProtoInfoTCP{State: 3},
		Forward: tuple(from, to), Reverse: tuple(to, from),
	}
	w.must(w.m.space.inside(func() error {
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return err
		}
		return netlink.ConntrackCreate(netlink.ConntrackTable, family, flow)
	}))
}

func tuple(src, dst netip.AddrPort) netlink.IPTuple {
	return netlink.IPTuple{
		Protocol: protocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice(), SrcPort: src.Port(), DstPort: dst.Port(),
	}
}
