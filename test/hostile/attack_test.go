// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/packet"
)

// attack is what somebody sends, and what must become of it.
type attack struct {
	name    string
	sender  string // a pod, or "outside"
	packets []packet.Packet
	mark    string // in each packet that must not arrive
	// at: the wire where it arrives without weir. Empty: Linux itself stops
	// it, so that only the reason is of interest.
	at      string
	mac     net.HardwareAddr // where the frames go; nil: as routed
	subject string           // the pod whose veth must stop it
	way     string           // ingress or egress
	reason  string
	// joined: on its way the packets become one.
	joined bool
}

// book collects attacks and gives each one a mark of its own.
type book struct {
	*stage
	list []attack
}

func (b *book) add(a attack, packets ...packet.Packet) {
	if a.sender == "" {
		a.sender = "evil"
	}
	if a.subject == "" {
		a.subject, a.way = "evil", "egress"
	}
	a.mark = b.nextMark()
	for _, p := range packets {
		a.packets = append(a.packets, marked(p, a.mark))
	}
	b.list = append(b.list, a)
}

// nextMark is the mark of the attack that is added next.
func (b *book) nextMark() string { return fmt.Sprintf("weir-attack-%04d.", len(b.list)) }

// port is a source port that no other attack of the book has.
func (b *book) port() uint16 { return uint16(20000 + len(b.list)) }

// marked appends the mark to layer 4; checksums of layer 4 do not cover it.
func marked(p packet.Packet, mark string) packet.Packet {
	return p.Pad(len(mark)).Mangle(func(frame []byte) []byte {
		copy(frame[len(frame)-len(mark):], mark)
		return frame
	})
}

// trailed appends the mark behind layer 3, where there is no layer 4.
func trailed(p packet.Packet, mark string) packet.Packet {
	return p.Mangle(func(frame []byte) []byte { return append(frame, mark...) })
}

func (s *stage) launch(a attack) {
	s.t.Helper()
	w := s.wires[a.sender]
	for _, p := range a.packets {
		frame, err := p.Frame()
		must(s.t, err)
		to := a.mac
		if to == nil {
			to = s.hop(a.sender, destinationOf(frame))
		}
		copy(frame, to)
		copy(frame[6:], w.MAC())
		must(s.t, w.Send(frame))
	}
}

func destinationOf(frame []byte) netip.Addr {
	if frame[12] == 0x08 && frame[13] == 0x00 {
		return netip.AddrFrom4([4]byte(frame[30:34]))
	}
	if frame[12] == 0x86 && frame[13] == 0xdd {
		return netip.AddrFrom16([16]byte(frame[38:54]))
	}
	return netip.Addr{}
}

// works proves that an attack is one: without weir it arrives.
func (s *stage) works(t *testing.T, a attack) {
	if a.at == "" {
		return
	}
	// A port of a bridge and a new address need a moment before they carry.
	var launched time.Time
	ok, err := eventually(func() (bool, error) {
		if time.Since(launched) > patience/10 {
			launched = time.Now()
			s.launch(a)
		}
		return s.wires[a.at].has([]byte(a.mark))
	})
	must(t, err)
	if !ok {
		t.Errorf("without weir it does not arrive at %s: the test would prove nothing", a.at)
	}
}

// untold is how long the denial of a tuple may be held back, as the one before
// was told.
const untold = 1100 * time.Millisecond

// stopped: weir counts and tells the denial, and nothing arrives anywhere.
func (s *stage) stopped(t *testing.T, a attack) {
	before, err := s.Denied(a.subject, a.way, a.reason)
	must(t, err)
	told := s.Told()
	s.launch(a)
	packets := len(a.packets)
	if a.joined {
		packets = 1
	}
	want := before + float64(packets)
	var now float64
	ok, err := eventually(func() (bool, error) {
		now, err = s.Denied(a.subject, a.way, a.reason)
		return now >= want, err
	})
	must(t, err)
	if !ok {
		t.Errorf("%s %s for the reason %s: %v packets counted, not %d: %s", a.subject, a.way, a.reason, now-before, packets, s.reasons(told, a.subject))
	}
	launched := time.Now()
	ok, err = eventually(func() (bool, error) {
		if time.Since(launched) > untold { // the tuple was denied a moment ago, for something else
			launched = time.Now()
			s.launch(a)
		}
		return s.Find(told, func(f *weirv1.Flow) bool {
			return f.GetVerdict() == weirv1.Verdict_VERDICT_DENIED && f.GetReason() == reasonOf(a.reason) && f.GetInterface() == s.podNamed(a.subject).Ifname
		}) != nil, nil
	})
	must(t, err)
	if !ok {
		t.Errorf("no event tells that %s was denied for the reason %s: %s", a.subject, a.reason, s.reasons(told, a.subject))
	}
	for _, name := range slices.Sorted(maps.Keys(s.wires)) {
		arrived, err := s.wires[name].has([]byte(a.mark))
		must(t, err)
		// A bridge that does not know a MAC address floods: what policy denies
		// one pod may reach another, which drops what is not its own.
		if arrived && name != a.sender && (a.way == "egress" || name == a.subject) {
			t.Errorf("it arrived at %s", name)
		}
	}
}

// reasons are what events say of a pod, for the message of a failed test.
func (s *stage) reasons(after int, pod string) (list []string) {
	s.Find(after, func(f *weirv1.Flow) bool {
		if f.GetInterface() == s.podNamed(pod).Ifname {
			list = append(list, fmt.Sprintf("%s %s %s", f.GetVerdict(), f.GetReason(), f.GetDirection()))
		}
		return false
	})
	return list
}

// reasonOf turns a name as in metrics to the API's.
func reasonOf(name string) weirv1.Reason {
	return weirv1.Reason(weirv1.Reason_value["REASON_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))])
}

// nodeName is of this process alone: mutants are judged beside each other.
func nodeName(wiring string) string {
	return "hs" + wiring[:1] + strconv.FormatInt(int64(os.Getpid()), 36)
}

func TestAttacks(t *testing.T) {
	node.RequireKernel(t)
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent")
	for name, wiring := range map[string]netns.Wiring{"routed": netns.Routed, "bridged": netns.Bridged} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nodeName(name), bin, wiring)
			b := &book{stage: s}
			b.forgedSources()
			b.forgedOutside()
			b.encapsulated()
			b.fragments()
			b.withoutSYN()
			b.errors()
			b.neighbours()
			b.frames()
			for _, a := range b.list {
				t.Run("works/"+a.name, func(t *testing.T) { s.works(t, a) })
			}
			s.forgetNeighbours()
			for _, w := range s.wires {
				must(t, w.drain())
				w.read = nil
			}
			s.start()
			for _, a := range b.list {
				t.Run("stopped/"+a.name, func(t *testing.T) { s.stopped(t, a) })
			}
			t.Run("address added inside", s.addressAddedInside)
			t.Run("error about a known flow", s.errorAboutKnownFlow)
			t.Run("echo with the pod's identifier", s.echoFromOutside)
			t.Run("only the initiator keeps a way open", s.wayBack)
			t.Run("tombstone", s.tombstone)
			t.Run("address reused", s.addressReused)
			t.Run("flood", s.flood)
		})
	}
}
