// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirnet/weir/bpf"
)

const (
	ended    = uint8(bpf.WeirFlowFlagFLOW_ANSWERED)
	local    = uint8(bpf.WeirSideSIDE_LOCAL)
	remote   = uint8(bpf.WeirSideSIDE_REMOTE)
	allowed  = uint8(bpf.WeirVerdictVERDICT_ALLOWED)
	byRule   = uint8(bpf.WeirReasonREASON_RULE)
	flagSYN  = uint8(SYN)
	flagBoth = uint8(SYN | ACK)
)

// entry checks an entry of A, times and tag left out.
func entry(protocol uint8, ends [2]string, want bpf.WeirFlow) step {
	return then(func(w *world) {
		w.t.Helper()
		got, found := w.flow(protocol, ends[0], ends[1])
		if !found {
			w.t.Errorf("no entry %s, %s", ends[0], ends[1])
			return
		}
		got.First, got.LastTx, got.LastRx, got.Tag = 0, 0, 0, 0
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(bpf.WeirFlow{})); diff != "" {
			w.t.Errorf("entry %s, %s: (-want +got)\n%s", ends[0], ends[1], diff)
		}
	})
}

// none checks that there is no entry.
func none(protocol uint8, l, r string) step {
	return then(func(w *world) {
		w.t.Helper()
		if got, found := w.flow(protocol, l, r); found {
			w.t.Errorf("entry %s, %s: %+v", l, r, got)
		}
	})
}

// size is the length of a packet from layer 3 up.
func size(p Packet) uint64 {
	b, err := p.Network()
	if err != nil {
		panic(err)
	}
	return uint64(len(b))
}

func TestFlowEntry(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		ask, answer := f.tcp("A:1000", "C:80", "S"), f.tcp("C:80", "A:1000", "SA")
		data, big := f.tcp("A:1000", "C:80", "PA").Pad(100), f.tcp("C:80", "A:1000", "PA").Pad(3000)
		web, tls := [2]string{"A:1000", "C:80"}, [2]string{"A:443", "C:1000"}
		base := bpf.WeirFlow{Epoch: 1, Set: setOut, Rule: ruleWeb, Initiator: local, Verdict: allowed, Reason: byRule}
		first := base
		first.TxPackets, first.TxBytes, first.TcpTx = 1, size(ask), flagSYN
		second := first
		second.RxPackets, second.RxBytes, second.TcpRx, second.Flags = 1, size(answer), flagBoth, ended
		third := second
		third.TxPackets, third.TxBytes, third.TcpTx = 2, size(ask)+size(data), flagSYN|uint8(PSH|ACK)
		fourth := third
		fourth.RxPackets, fourth.RxBytes, fourth.TcpRx = 4, size(answer)+size(big), flagBoth|uint8(PSH)
		incoming := f.tcp("C:1000", "A:443", "S")
		reverse := bpf.WeirFlow{Epoch: 1, Set: setIn, Rule: ruleTLS, Initiator: remote, Verdict: allowed, Reason: byRule,
			RxPackets: 1, RxBytes: size(incoming), TcpRx: flagSYN}
		return []row{
			{"from the pod", nil, []step{
				out(ask, "allowed rule new"), entry(protocolTCP, web, first),
				in(answer, "allowed reply"), entry(protocolTCP, web, second),
				out(data, "allowed established"), entry(protocolTCP, web, third),
				in(big, "allowed reply").segments(3), entry(protocolTCP, web, fourth),
			}},
			{"to the pod", nil, []step{
				in(incoming, "allowed rule new"), entry(protocolTCP, tls, reverse),
				out(f.tcp("A:443", "C:1000", "SA"), "allowed reply"),
				in(f.tcp("C:1000", "A:443", "A"), "allowed established"),
			}},
			{"GSO at the first packet", nil, []step{
				out(f.udp("A:1000", "C:53").Pad(2500), "allowed rule new").segments(5),
				then(func(w *world) {
					if got, _ := w.flow(protocolUDP, "A:1000", "C:53"); got.TxPackets != 5 {
						w.t.Errorf("%d packets, want 5", got.TxPackets)
					}
				}),
			}},
			{"denied makes no entry", nil, []step{out(f.tcp("A:1000", "D:80", "S"), "denied no-rule"), none(protocolTCP, "A:1000", "D:80")}},
			{"not isolated, both sets 0", func(w *world) { w.sets(0, 0) }, []step{
				out(ask, "allowed not-isolated new"),
				entry(protocolTCP, web, bpf.WeirFlow{Epoch: 1, Initiator: local, Verdict: allowed, Reason: uint8(bpf.WeirReasonREASON_NOT_ISOLATED), TxPackets: 1, TxBytes: size(ask), TcpTx: flagSYN}),
			}},
			{"another pod with the same ends", nil, []step{out(ask, "allowed rule new"), in(answer, "allowed not-isolated new").at(linkB)}},
			{"an expired entry is used again by the other side", nil, []step{
				out(f.udp("A:5000", "O:9"), "allowed rule new"), idle(31), in(f.udp("O:9", "A:5000"), "allowed rule new"),
				entry(protocolUDP, [2]string{"A:5000", "O:9"}, bpf.WeirFlow{Epoch: 1, Set: setIn, Rule: ruleIn, Initiator: remote, Verdict: allowed,
					Reason: byRule, RxPackets: 1, RxBytes: size(f.udp("O:9", "A:5000"))}),
				out(f.udp("A:5000", "O:9"), "allowed reply"),
			}},
			{"the same ends, another protocol", nil, []step{out(f.udp("A:1000", "C:53"), "allowed rule new"), in(f.tcp("C:53", "A:1000", "S"), "denied no-rule")}},
			{"times", nil, []step{
				out(f.udp("A:1000", "C:53"), "allowed rule new"), idle(20), in(f.udp("C:53", "A:1000"), "allowed reply"),
				then(func(w *world) {
					got, _ := w.flow(protocolUDP, "A:1000", "C:53")
					if age := got.LastRx - got.LastTx; got.First != got.LastTx || age < 20*250 || age > 25*250 {
						w.t.Errorf("first %d, tx %d, rx %d: want rx 20 s (5000 ticks) behind the others", got.First, got.LastTx, got.LastRx)
					}
				}),
			}},
		}
	})
}

func TestReplies(t *testing.T) {
	table(t, machine(t, nil), func(f family) []row {
		return []row{
			{"UDP", nil, []step{out(f.udp("A:1000", "C:53"), "allowed rule new"), in(f.udp("C:53", "A:1000"), "allowed reply"), out(f.udp("A:1000", "C:53"), "allowed established")}},
			{"UDP, another port of the peer", nil, []step{out(f.udp("A:1000", "C:53"), "allowed rule new"), in(f.udp("C:54", "A:1000"), "denied no-rule")}},
			{"UDP, another peer", nil, []step{out(f.udp("A:1000", "C:53"), "allowed rule new"), in(f.udp("D:53", "A:1000"), "denied no-rule")}},
			{"SCTP", nil, []step{out(f.sctp("A:1000", "C:3868"), "allowed rule new"), in(f.sctp("C:3868", "A:1000"), "allowed reply")}},
			{"SCTP to the pod", nil, []step{in(f.sctp("C:1000", "A:3868"), "allowed rule new"), out(f.sctp("A:3868", "C:1000"), "allowed reply")}},
			{"the other family's ICMP is a protocol without ports", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.other("A", "O", choose(f.at("A"), protocolICMPv6, protocolICMP)), "allowed rule new"), in(f.other("O", "A", choose(f.at("A"), protocolICMPv6, protocolICMP)), "allowed reply")}},
			{"ESP, no ports", nil, []step{out(f.other("A", "O", 50), "allowed rule new"), in(f.other("O", "A", 50), "allowed reply")}},
			{"ESP is not AH's", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.other("A", "O", 50), "allowed rule new"), in(f.other("O", "A", 99), "denied no-rule")}},
			{"echo", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 7), "allowed rule new"), in(f.reply("O", "A", 7), "allowed reply"), out(f.echo("A", "O", 7), "allowed established")}},
			{"echo, another identifier", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 7), "allowed rule new"), in(f.reply("O", "A", 8), "denied no-rule")}},
			{"echo does not let an echo in", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 7), "allowed rule new"), in(f.echo("O", "A", 7), "denied no-rule")}},
			{"echo, identifier equal to the type", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 8), "allowed rule new"), in(f.echo("O", "A", 8), "denied no-rule"), in(f.reply("O", "A", 8), "allowed reply")}},
			{"echo, identifier equal to the type, IPv6", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 128), "allowed rule new"), in(f.echo("O", "A", 128), "denied no-rule"), in(f.reply("O", "A", 128), "allowed reply")}},
			{"echo, identifier 0", func(w *world) { w.sets(setNone, setOut) }, []step{out(f.echo("A", "O", 0), "allowed rule new"), in(f.echo("O", "A", 0), "denied no-rule"), in(f.reply("O", "A", 0), "allowed reply")}},
			{"echo to the pod", func(w *world) { w.sets(setIn, setNone) }, []step{in(f.echo("O", "A", 7), "allowed rule new"), out(f.reply("A", "O", 7), "allowed reply"), out(f.echo("A", "O", 7), "denied no-rule")}},
			{"an answer that nobody asked for", func(w *world) { w.sets(setNone, setOut) }, []step{in(f.reply("O", "A", 7), "denied no-rule")}},
			{"an answer that nobody asked for, but the policy allows", nil, []step{in(f.reply("O", "A", 7), "allowed rule new")}},
		}
	})
}

// Types of IPv4 ICMP that ask, beside echo.
func TestQueriesIPv4(t *testing.T) {
	f := four()
	icmp := func(src, dst string, kind uint8) Packet { return ICMP(f.at(src), f.at(dst), kind, 0, 9<<16) }
	sealed := func(w *world) { w.sets(setNone, setOut) }
	list(t, machine(t, nil), f, []row{
		{"timestamp", sealed, []step{out(icmp("A", "O", 13), "allowed rule new"), in(icmp("O", "A", 14), "allowed reply"), in(icmp("O", "A", 0), "denied no-rule")}},
		{"information", sealed, []step{out(icmp("A", "O", 15), "allowed rule new"), in(icmp("O", "A", 16), "allowed reply")}},
		{"mask", sealed, []step{out(icmp("A", "O", 17), "allowed rule new"), in(icmp("O", "A", 18), "allowed reply")}},
		{"no reply to itself", sealed, []step{out(icmp("A", "O", 13), "allowed rule new"), in(icmp("O", "A", 13), "denied no-rule")}},
	})
}
