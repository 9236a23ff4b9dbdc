// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirnet/weir/bpf"
)

// The world of the tests: pod A, which most tests are about, and pod B on two
// links of one node N; peers C and D elsewhere; a Service S; O in a block that
// rules name; X, which nothing knows.
type family struct {
	name string
	of   map[string]string
}

func families() []family {
	return []family{
		{"IPv4", map[string]string{
			"A": "10.1.0.1", "B": "10.1.0.2", "C": "10.2.0.3", "D": "10.2.0.4", "N": "10.9.0.1",
			"S": "10.96.0.10", "O": "192.0.2.9", "X": "198.51.100.1", "block": "192.0.2.0/24",
		}},
		{"IPv6", map[string]string{
			"A": "fd00:1::1", "B": "fd00:1::2", "C": "fd00:2::3", "D": "fd00:2::4", "N": "fd00:9::1",
			"S": "fd00:96::10", "O": "2001:db8::9", "X": "2001:db8:ffff::1", "block": "2001:db8::/64",
		}},
	}
}

func four() family { return families()[0] }
func six() family  { return families()[1] }

func (f family) is4() bool { return f.name == "IPv4" }

// at is the address of a letter, or of a literal.
func (f family) at(name string) netip.Addr {
	if literal, known := f.of[name]; known {
		name = literal
	}
	return netip.MustParseAddr(name)
}

// port splits "A:1000".
func (f family) port(name string) netip.AddrPort {
	host, port, _ := strings.Cut(name, ":")
	return netip.AddrPortFrom(f.at(host), netip.MustParseAddrPort("0.0.0.0:"+port).Port())
}

func (f family) tcp(src, dst, flags string) Packet {
	var bits TCPFlags
	for _, letter := range flags {
		bits |= map[rune]TCPFlags{'F': FIN, 'S': SYN, 'R': RST, 'P': PSH, 'A': ACK}[letter]
	}
	return TCP(f.port(src), f.port(dst), bits)
}
func (f family) udp(src, dst string) Packet  { return UDP(f.port(src), f.port(dst), 1, 2, 3, 4) }
func (f family) sctp(src, dst string) Packet { return SCTP(f.port(src), f.port(dst)) }
func (f family) echo(src, dst string, id uint16) Packet {
	return Echo(f.at(src), f.at(dst), id)
}
func (f family) reply(src, dst string, id uint16) Packet {
	return EchoReply(f.at(src), f.at(dst), id)
}
func (f family) other(src, dst string, protocol uint8) Packet {
	return Other(f.at(src), f.at(dst), protocol, make([]byte, 24)...)
}

// Links of the machine.
const (
	linkA = iota
	linkB
	linkUp
)

// Ids of the world's policy.
const (
	setIn, setOut     = 11, 12
	classN            = 3
	classA, classB    = 1, 2
	classC, classD    = 5, 6
	classO            = 7
	slotA, slotB      = 1, 2
	ruleWeb           = 101 // A to C, TCP 80
	ruleRange         = 102 // A to C, TCP 8000 to 8999
	ruleDNS           = 103 // A to C, UDP 53
	ruleOut           = 104 // A to O, all
	ruleDiameter      = 105 // A to C, SCTP 3868
	ruleTLS           = 201 // C to A, TCP 443
	ruleMedia         = 202 // C to A, UDP 5000
	ruleIn            = 203 // O to A, all
	ruleDiameterIn    = 204 // C to A, SCTP 3868
	ruleNewer         = 301
	protocolGRE       = 47
	whole             = 65535
	setNewer, setNone = 22, 23 // a set to flip to, and one without rows
)

// world is a machine with the tables of a test in it.
type world struct {
	family
	t *testing.T
	m *Machine
}

// machine makes a Machine with the defaults as changed.
func machine(t *testing.T, change func(*Options)) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatal("WEIR_KERNEL_TESTS=1, and this is not root")
		}
		t.Skip("needs root: it loads programs and makes a network namespace")
	}
	o := Defaults()
	if change != nil {
		change(&o)
	}
	m, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// newWorld resets the machine and fills in the tables.
func newWorld(t *testing.T, m *Machine, f family) *world {
	t.Helper()
	w := &world{family: f, t: t, m: m}
	w.must(m.Reset())
	w.endpoint(linkA, bpf.WeirEndpoint{SetIngress: setIn, SetEgress: setOut, Slot: slotA, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
	w.endpoint(linkB, bpf.WeirEndpoint{Slot: slotB, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})
	w.must(m.SetFlowLimit(slotA, 1<<20))
	w.must(m.SetFlowLimit(slotB, 1<<20))
	for _, f := range families() {
		w.must(m.PutLocal(f.at("A"), m.Link(linkA)))
		w.must(m.PutLocal(f.at("B"), m.Link(linkB)))
		for name, class := range map[string]uint32{"A": classA, "B": classB, "C": classC, "D": classD} {
			w.must(m.PutPeer(f.at(name), class, 0))
		}
		w.must(m.PutPeer(f.at("N"), classN, bpf.WeirPeerFlagPEER_NODE))
		w.must(m.PutPeer(f.at("S"), 0, bpf.WeirPeerFlagPEER_SERVICE))
		w.must(m.PutPrefix(netip.MustParsePrefix(f.of["block"]), classO))
	}
	w.policy()
	return w
}

func (w *world) policy() {
	w.row(setOut, classC, protocolTCP, allow(80, 80, ruleWeb), allow(8000, 8999, ruleRange))
	w.row(setOut, classC, protocolUDP, allow(53, 53, ruleDNS))
	w.row(setOut, classC, protocolSCTP, allow(3868, 3868, ruleDiameter))
	w.row(setOut, classO, 0, allow(0, whole, ruleOut))
	w.row(setIn, classC, protocolTCP, allow(443, 443, ruleTLS))
	w.row(setIn, classC, protocolUDP, allow(5000, 5000, ruleMedia))
	w.row(setIn, classC, protocolSCTP, allow(3868, 3868, ruleDiameterIn))
	w.row(setIn, classO, 0, allow(0, whole, ruleIn))
}

type interval struct {
	lo, hi uint16
	rule   uint32
	action bpf.WeirAction
}

func allow(lo, hi uint16, rule uint32) interval {
	return interval{lo, hi, rule, bpf.WeirActionACTION_ALLOW}
}

func refuse(lo, hi uint16, rule uint32) interval {
	return interval{lo, hi, rule, bpf.WeirActionACTION_DENY}
}

// row writes a row, in as many pages as it takes.
func (w *world) row(set, class uint32, protocol uint8, intervals ...interval) {
	w.t.Helper()
	pages := slices.Collect(slices.Chunk(intervals, int(bpf.WeirRowLimitROW_INTERVALS)))
	for n, page := range pages {
		row := bpf.WeirRow{Key: bpf.WeirRowKey{Set: set, Class: class, Protocol: protocol, Page: uint8(n)}, Count: uint16(len(page))}
		if n < len(pages)-1 {
			row.More = 1
		}
		for i, v := range page {
			row.Intervals[i].Lo, row.Intervals[i].Hi, row.Intervals[i].Rule, row.Intervals[i].Action = v.lo, v.hi, v.rule, uint8(v.action)
		}
		w.must(w.m.PutRow(row))
	}
}

func (w *world) endpoint(link int, e bpf.WeirEndpoint) {
	w.t.Helper()
	w.must(w.m.PutEndpoint(w.m.Link(link), e))
}

// change rewrites A's endpoint without moving the epoch.
func (w *world) change(f func(*bpf.WeirEndpoint)) {
	w.t.Helper()
	e := bpf.WeirEndpoint{SetIngress: setIn, SetEgress: setOut, Slot: slotA, Mode: uint8(bpf.WeirModeMODE_ENFORCE)}
	f(&e)
	w.endpoint(linkA, e)
}

func (w *world) sets(in, out uint32) {
	w.t.Helper()
	w.change(func(e *bpf.WeirEndpoint) { e.SetIngress, e.SetEgress = in, out })
}

func (w *world) mode(mode bpf.WeirMode) {
	w.t.Helper()
	w.change(func(e *bpf.WeirEndpoint) { e.Mode = uint8(mode) })
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
