// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
)

// row is one test: a world, changed, and what happens in it.
type row struct {
	name   string
	change func(*world)
	steps  []step
}

// step is one packet with its outcome, or something done between packets.
type step struct {
	hook    Hook
	packet  Packet
	context Context
	link    int // of the pod
	from    int // where it came in; see the constants
	want    string
	check   func(*world, Result)
	do      func(*world)
}

// Where a packet to a pod came in, beside the links.
const fromNode = -1

// out is a packet that A sends.
func out(p Packet, want string) step {
	return step{hook: FromPod, packet: p, link: linkA, from: linkA, want: want}
}

// in is a packet to A that came in over the uplink.
func in(p Packet, want string) step {
	return step{hook: ToPod, packet: p, link: linkA, from: linkUp, want: want}
}

// via tells another way in.
func (s step) via(link int) step { s.from = link; return s }

// at makes it another pod's packet.
func (s step) at(link int) step {
	if s.hook == FromPod {
		s.from = link
	}
	s.link = link
	return s
}

// segments makes it a GSO packet.
func (s step) segments(n uint32) step { s.context.GSOSegs = n; return s }

// also looks closer at the result.
func (s step) also(check func(*world, Result)) step { s.check = check; return s }

// then is something done between packets.
func then(f func(*world)) step { return step{do: f} }

// idle lets time pass.
func idle(seconds int) step {
	return then(func(w *world) { w.t.Helper(); w.must(w.m.Age(time.Duration(seconds) * time.Second)) })
}

// epoch moves it.
func epoch(n uint32) step { return then(func(w *world) { w.must(w.m.SetEpoch(n)) }) }

// flip gives A other sets and moves the epoch.
func flip(in, out, n uint32) step {
	return then(func(w *world) { w.sets(in, out); w.must(w.m.SetEpoch(n)) })
}

// run does a step and returns what happened.
func (w *world) run(s step) Result {
	w.t.Helper()
	if s.do != nil {
		s.do(w)
		return Result{}
	}
	s.context.Ifindex = w.m.Link(s.link)
	if s.from != fromNode {
		s.context.Ingress = w.m.Link(s.from)
	}
	r, err := w.m.RunPacket(s.hook, s.packet, s.context)
	w.must(err)
	if err := r.Check(); err != nil {
		w.t.Errorf("%s: %v: %v", s.hook, r, err)
	}
	return r
}

func (w *world) play(steps []step) {
	w.t.Helper()
	for n, s := range steps {
		r := w.run(s)
		if s.do != nil {
			continue
		}
		if !matches(s.want, r.String()) {
			w.t.Errorf("step %d: %s: got %q, want %q", n, s.hook, r, s.want)
		}
		if s.check != nil {
			s.check(w, r)
		}
	}
	w.sound()
}

// sound looks at all entries: padding takes part in the comparison of keys.
func (w *world) sound() {
	w.t.Helper()
	flows, err := w.m.Flows()
	w.must(err)
	spilled, err := w.m.Spilled()
	w.must(err)
	for _, table := range []map[bpf.WeirFlowKey]bpf.WeirFlow{flows, spilled} {
		for key, flow := range table {
			if key.Pad != [3]uint8{} || flow.Tag != tagOf(key) {
				w.t.Errorf("flow %+v: %+v: padding is not zero, or the tag not %#x", key, flow, tagOf(key))
			}
		}
	}
	fragments, err := w.m.Fragments()
	w.must(err)
	for key, fragment := range fragments {
		if key.Pad != [2]uint8{} || fragment.Pad != [2]uint8{} || fragment.Key != key {
			w.t.Errorf("fragment %+v: %+v: padding is not zero, or the key not repeated", key, fragment)
		}
	}
}

// matches compares words; "*" stands for any one word and "..." for any rest,
// where the contract does not say which.
func matches(want, got string) bool {
	wants, gots := strings.Fields(want), strings.Fields(got)
	if last := len(wants) - 1; last >= 0 && wants[last] == "..." {
		wants = wants[:last]
		gots = gots[:min(last, len(gots))]
	}
	if len(wants) != len(gots) {
		return false
	}
	for i := range wants {
		if wants[i] != "*" && wants[i] != gots[i] {
			return false
		}
	}
	return true
}

// table runs rows in both families.
func table(t *testing.T, m *Machine, rows func(family) []row) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) { list(t, m, f, rows(f)) })
	}
}

// list runs rows in one family.
func list(t *testing.T, m *Machine, f family, rows []row) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t, m, f)
			if r.change != nil {
				r.change(w)
			}
			w.play(r.steps)
		})
	}
}

// flow is the entry of A with these ends: "A:1000", "C:80".
func (w *world) flow(protocol uint8, local, remote string) (bpf.WeirFlow, bool) {
	w.t.Helper()
	flow, found, err := w.m.Flow(w.key(protocol, local, remote))
	w.must(err)
	return flow, found
}

func (w *world) key(protocol uint8, local, remote string) bpf.WeirFlowKey {
	l, r := w.port(local), w.port(remote)
	return bpf.WeirFlowKey{
		Ifindex: w.m.Link(linkA), Local: l.Addr().As16(), Remote: r.Addr().As16(),
		LocalPort: Port(l.Port()), RemotePort: Port(r.Port()), Protocol: protocol,
	}
}
