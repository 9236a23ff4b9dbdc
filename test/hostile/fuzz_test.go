// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/packet"
)

// FuzzPackets gives the programs whatever bytes the fuzzer thinks of: none
// passes that policy does not let pass. To look on for longer:
// go test -fuzz FuzzPackets ./test/hostile
func FuzzPackets(f *testing.F) {
	node.RequireKernel(f)
	g := &generator{Rand: rand.New(rand.NewPCG(1, 0)), realm: newRealm()}
	for range 100 {
		out := g.IntN(2) == 0
		frame, _ := g.frame(out)
		f.Add(frame, out, uint8(g.IntN(4)))
	}
	options := packet.Defaults()
	options.Flows = 1024
	m, err := packet.NewMachine(options)
	must(f, err)
	f.Cleanup(func() { must(f, m.Close()) })
	f.Fuzz(func(t *testing.T, frame []byte, out bool, from uint8) {
		if len(frame) > longestFrame {
			return
		}
		must(t, g.realm.load(m))
		o := newOracle(g.realm, m.Link(0), m.Link(1))
		ingress := []uint32{0, m.Link(0), m.Link(1), m.Link(2)}[from%4]
		hook, c := packet.ToPod, packet.Context{Ifindex: m.Link(0), Ingress: ingress}
		if out {
			hook, c.Ingress = packet.FromPod, 0
		}
		passes, err := m.Passes(hook, frame, c)
		if errors.Is(err, packet.ErrShort) {
			return
		}
		must(t, err)
		if r := read(frame); passes && o.why(out, r, ingress) == "" {
			t.Fatalf("%s let pass what policy denies (ingress %d): %+v\n%s", hook, ingress, r, hex.Dump(frame))
		}
	})
}
