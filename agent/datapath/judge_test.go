// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// runAt runs a program on a packet of an interface.
func runAt(t *testing.T, d *Datapath, ifindex int, p probe) uint32 {
	t.Helper()
	context := make([]byte, 192)                                 // struct __sk_buff
	binary.NativeEndian.PutUint32(context[40:], uint32(ifindex)) // its ifindex
	code, err := d.program[p.hook].Run(&ebpf.RunOptions{Data: p.packet(), Context: context})
	check(t, err)
	return code
}

// judged is what the maps of TestJudge hold.
func judged(p *pod) compile.Update {
	pages := tcpRow(1, 1, 80, 1)
	pages.More = 1
	second := tcpRow(1, 1, 8000, 3)
	second.Key.Page = 1
	second.Intervals[0].Hi = 8080
	refused := tcpRow(1, 4, 80, 6)
	refused.Intervals[0].Action = uint8(bpf.WeirActionACTION_DENY)
	every := bpf.WeirRow{Key: bpf.WeirRowKey{Set: 1, Class: 2}, Count: 1}
	every.Intervals[0].Hi, every.Intervals[0].Rule, every.Intervals[0].Action = 65535, 4, uint8(bpf.WeirActionACTION_ALLOW)
	return compile.Update{
		Rows: []bpf.WeirRow{pages, second, every, refused, tcpRow(1, 0, 22, 5)},
		Peers: []resolve.PeerChange{
			{Addr: friend, Class: 1},
			{Addr: netip.MustParseAddr("10.9.9.8"), Class: 4},
			{Addr: netip.MustParseAddr("10.96.0.1"), Flags: resolve.PeerService},
			{Addr: netip.MustParseAddr("10.0.0.1"), Flags: resolve.PeerNode},
		},
		Prefixes: []resolve.PrefixChange{
			{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Class: 2},
			{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Class: 7}, // it has no rows
		},
		Subjects: []compile.SubjectSets{p.sets(1, 1)},
	}
}

// The maps, read as the programs read them, and the programs: one verdict.
func TestJudge(t *testing.T) {
	n := newNode(t)
	n.opts.Forward = ForwardNone
	p := n.pod("dpjudge", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(judged(p)))
	check(t, d.SetServices([]policy.PortNumber{{Protocol: policy.TCP, Number: 30080}}))
	const (
		in, out = policy.Ingress, policy.Egress
		allowed = bpf.WeirVerdictVERDICT_ALLOWED
		denied  = bpf.WeirVerdictVERDICT_DENIED
		byRule  = bpf.WeirReasonREASON_RULE
		noRule  = bpf.WeirReasonREASON_NO_RULE
	)
	for _, row := range []struct {
		name      string
		direction policy.Direction
		peer      string
		port      uint16
		verdict   bpf.WeirVerdict
		reason    bpf.WeirReason
		rule      uint32
	}{
		{"the peer's row", in, "10.9.9.9", 80, allowed, byRule, 1},
		{"below the second page", in, "10.9.9.9", 7999, denied, noRule, 0},
		{"begin of the second page", out, "10.9.9.9", 8000, allowed, byRule, 3},
		{"end of the second page", in, "10.9.9.9", 8080, allowed, byRule, 3},
		{"beyond", in, "10.9.9.9", 8081, denied, noRule, 0},
		{"a row of the class hides the one for any", in, "10.9.9.9", 22, denied, noRule, 0},
		{"every protocol", out, "10.9.1.1", 1234, allowed, byRule, 4},
		{"every protocol, port 0", in, "10.9.1.1", 0, allowed, byRule, 4},
		{"a rule that denies", in, "10.9.9.8", 80, denied, bpf.WeirReasonREASON_DENY_RULE, 6},
		{"any peer", in, "203.0.113.9", 22, allowed, byRule, 5},
		{"any peer, of a class without rows", in, "198.51.100.1", 22, allowed, byRule, 5},
		{"any peer, another port", in, "203.0.113.9", 23, denied, noRule, 0},
		{"a Service", out, "10.96.0.1", 443, denied, bpf.WeirReasonREASON_NO_HOOK, 0},
		{"a translated port of the node", out, "10.0.0.1", 30080, denied, bpf.WeirReasonREASON_NO_HOOK, 0},
		{"the node", out, "10.0.0.1", 6443, allowed, bpf.WeirReasonREASON_TO_NODE, 0},
		{"from the node", in, "10.0.0.1", 6443, allowed, bpf.WeirReasonREASON_FROM_NODE, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			peer := netip.MustParseAddr(row.peer)
			a, err := d.Judge(p.key(), Question{row.direction, peer, policy.TCP, row.port})
			check(t, err)
			if a.Verdict != row.verdict || a.Reason != row.reason || a.Rule != row.rule {
				t.Errorf("%+v, want %v, reason %d, rule %d", a, row.verdict, row.reason, row.rule)
			}
			packet := probe{hook: FromPod, src: p.addr, dst: peer, port: row.port}
			if row.direction == in {
				packet.hook, packet.src, packet.dst = ToPod, peer, p.addr
			}
			want := codePass
			if row.verdict == denied {
				want = codeDrop
			}
			if got := runAt(t, d, p.ifindex, packet); got != want {
				t.Errorf("the program answers %d, want %d", int32(got), int32(want))
			}
		})
	}
	// Its own backend. A program wants to see where the packet came from, too.
	if a, err := d.Judge(p.key(), Question{out, p.addr, policy.TCP, 1}); a.Reason != bpf.WeirReasonREASON_OWN_TRAFFIC || err != nil {
		t.Errorf("itself: %+v, %v", a, err)
	}
	for mode, want := range map[bpf.WeirMode]bpf.WeirReason{
		bpf.WeirModeMODE_NOT_READY: bpf.WeirReasonREASON_NOT_READY, bpf.WeirModeMODE_NOT_READY_OPEN: bpf.WeirReasonREASON_NOT_READY_OPEN,
		bpf.WeirModeMODE_AUDIT: noRule,
	} {
		check(t, d.SetMode(p.key(), mode))
		a, err := d.Judge(p.key(), Question{in, friend, policy.TCP, 1})
		if err != nil || a.Reason != want || (mode == bpf.WeirModeMODE_AUDIT) != (a.Verdict == bpf.WeirVerdictVERDICT_AUDITED) {
			t.Errorf("mode %d: %+v, %v, want reason %d", mode, a, err, want)
		}
	}
	if _, err := d.Judge(policy.ObjectKey{Name: "nobody"}, Question{}); !errors.Is(err, ErrNotBound) {
		t.Errorf("unknown pod: %v, want ErrNotBound", err)
	}
}
