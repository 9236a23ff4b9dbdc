// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/hex"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/packet"
)

// randomPackets is WEIR_RANDOM_PACKETS, or 20,000.
func randomPackets(t *testing.T) int {
	text := os.Getenv("WEIR_RANDOM_PACKETS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("WEIR_RANDOM_PACKETS is %q; give a number above 0", text)
	}
	return n
}

// randomSeed is WEIR_RANDOM_SEED, to repeat a run, or the time.
func randomSeed(t *testing.T) uint64 {
	text := os.Getenv("WEIR_RANDOM_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("WEIR_RANDOM_SEED is %q; give a number", text)
	}
	return seed
}

// afresh is after how many frames the tables are emptied: before old flows
// make everything a reply.
const afresh = 2000

// Of random, mostly hostile frames none passes that policy does not let pass;
// of TCP and UDP that is right and that a rule allows, each does.
func TestRandomPackets(t *testing.T) {
	node.RequireKernel(t)
	count, seed := randomPackets(t), randomSeed(t)
	t.Logf("%d frames, seed %d", count, seed)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), realm: newRealm()}
	options := packet.Defaults()
	options.Flows = 16384
	m, err := packet.NewMachine(options)
	must(t, err)
	defer func() { must(t, m.Close()) }()
	passed, denied, short := map[string]int{}, 0, 0
	var o *oracle
	for n := range count {
		if n%afresh == 0 {
			must(t, g.realm.load(m))
			o = newOracle(g.realm, m.Link(0), m.Link(1))
		}
		out, ingress := g.IntN(2) == 0, []uint32{0, m.Link(0), m.Link(1), m.Link(2)}[g.pick(1, 1, 1, 5)]
		frame, intact := g.frame(out)
		hook, c := packet.ToPod, packet.Context{Ifindex: m.Link(0), Ingress: ingress}
		if out {
			hook, c.Ingress = packet.FromPod, 0
		}
		passes, err := m.Passes(hook, frame, c)
		if errors.Is(err, packet.ErrShort) {
			short++
			continue
		}
		must(t, err)
		r := read(frame)
		why := o.why(out, r, ingress)
		switch {
		case passes && why == "":
			t.Fatalf("seed %d, frame %d: %s let pass what policy denies (ingress %d): %+v\n%s", seed, n, hook, ingress, r, hex.Dump(frame))
		case !passes && intact && why == "rule" && r.part == whole && (r.protocol == 6 || r.protocol == 17):
			t.Fatalf("seed %d, frame %d: %s denied what a rule allows: %+v\n%s", seed, n, hook, r, hex.Dump(frame))
		case passes:
			passed[why]++
			o.passed(out, r, why)
		default:
			denied++
		}
	}
	t.Logf("denied %d, too short for a test run %d, passed:", denied, short)
	for _, why := range slices.Sorted(maps.Keys(passed)) {
		t.Logf("  %-10s %d", why, passed[why])
	}
	if count < 10_000 {
		return // too few to meet every reason
	}
	for _, why := range []string{"rule", "known", "midstream", "neighbour", "listener", "dhcp", "node", "own", "to node", "fragment", "related"} {
		if passed[why] == 0 {
			t.Errorf("nothing passed for the reason %q: the frames miss a part of the programs", why)
		}
	}
	if denied < count/4 {
		t.Errorf("only %d of %d frames were denied: they are not hostile", denied, count)
	}
}

// load writes the realm's tables.
func (r realm) load(m *packet.Machine) error {
	const in, out, classC, classO = 11, 12, 5, 7
	errs := []error{m.Reset(), m.SetFlowLimit(1, 1<<20), m.PutTunnel(4789), m.PutEndpoint(m.Link(0), bpf.WeirEndpoint{
		SetIngress: in, SetEgress: out, Slot: 1, Mode: uint8(bpf.WeirModeMODE_ENFORCE),
	}), m.PutEndpoint(m.Link(1), bpf.WeirEndpoint{Slot: 2, Mode: uint8(bpf.WeirModeMODE_ENFORCE)})}
	for i := range 2 {
		errs = append(errs, m.PutLocal(r["A"][i], m.Link(0)), m.PutLocal(r["B"][i], m.Link(1)),
			m.PutPeer(r["C"][i], classC, 0), m.PutPeer(r["D"][i], 6, 0), m.PutPeer(r["N"][i], 0, bpf.WeirPeerFlagPEER_NODE))
	}
	errs = append(errs, m.PutPrefix(netip.MustParsePrefix("192.0.2.9/32"), classO), m.PutPrefix(netip.MustParsePrefix("2001:db8::9/128"), classO))
	for _, row := range []struct {
		set, class uint32
		protocol   uint8
		lo, hi     uint16
	}{{out, classC, 6, 80, 80}, {out, classC, 17, 53, 53}, {out, classO, 0, 0, 65535}, {in, classC, 6, 443, 443}, {in, classC, 17, 5000, 5000}} {
		w := bpf.WeirRow{Key: bpf.WeirRowKey{Set: row.set, Class: row.class, Protocol: row.protocol}, Count: 1}
		w.Intervals[0].Lo, w.Intervals[0].Hi, w.Intervals[0].Rule, w.Intervals[0].Action = row.lo, row.hi, 1, uint8(bpf.WeirActionACTION_ALLOW)
		errs = append(errs, m.PutRow(w))
	}
	return errors.Join(errs...)
}
