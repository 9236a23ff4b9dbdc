// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

func TestLoader(t *testing.T) {
	f := four()
	w := newWorld(t, machine(t, nil), f)
	w.must(w.m.Reset())
	l := NewLoader(w.m)
	pod := policy.ObjectKey{Namespace: "default", Name: "a"}
	w.must(l.Bind(pod, Pod{Ifindex: w.m.Link(linkA), Addresses: []netip.Addr{f.at("A")}, Mode: bpf.WeirModeMODE_ENFORCE}))
	if err := l.Bind(pod, Pod{}); err == nil {
		t.Error("a pod is bound twice, and no error")
	}
	syn, ack := f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A")
	w.play([]step{out(syn, "denied not-ready")})

	first := compile.Update{
		Rows:     []bpf.WeirRow{wide(31, 41, protocolTCP), wide(31, 0, protocolUDP)},
		Peers:    []resolve.PeerChange{{Addr: f.at("C"), Class: 41}},
		Prefixes: []resolve.PrefixChange{{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Class: 41}},
		Subjects: []compile.SubjectSets{{SubjectChange: resolve.SubjectChange{Pod: pod, Egress: 31}, EgressAny: true}},
	}
	w.must(l.Apply(first))
	w.play([]step{
		out(syn, "allowed rule new"), out(f.tcp("A:1000", "X:80", "S"), "allowed rule new"), out(f.tcp("A:1000", "D:80", "S"), "denied no-rule"),
		out(f.udp("A:1", "D:1"), "allowed rule new"), in(f.udp("D:1", "A:2"), "allowed not-isolated new"),
	})

	w.must(l.Apply(compile.Update{
		MoveEpoch: true, GonePeers: []netip.Addr{f.at("C")}, GonePrefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		GoneRows: []bpf.WeirRowKey{{Set: 31, Class: 0, Protocol: protocolUDP}},
	}))
	w.play([]step{out(ack, "denied revoked revoked"), out(f.tcp("A:1001", "X:80", "S"), "denied no-rule"), out(f.udp("A:3", "D:1"), "denied no-rule")})

	if err := l.Apply(compile.Update{Subjects: []compile.SubjectSets{{SubjectChange: resolve.SubjectChange{Pod: policy.ObjectKey{Name: "b"}}}}}); err == nil {
		t.Error("a subject that nobody bound, and no error")
	}
	w.must(l.Apply(compile.Update{GoneSubjects: []policy.ObjectKey{pod}}))
	w.play([]step{out(f.tcp("A:1002", "X:80", "S"), "denied not-ready")})
}
