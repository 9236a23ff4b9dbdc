// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weirnet/weir/bpf"
)

// samples are packets of every kind that the programs look into.
func samples(f family) map[string]Packet {
	web := f.tcp("A:1000", "C:80", "S")
	out := map[string]Packet{
		"TCP": web, "ACK": f.tcp("A:1000", "C:80", "A"), "UDP": f.udp("A:1000", "C:53"), "SCTP": f.sctp("A:1000", "C:3868"), "echo": f.echo("A", "O", 7),
		"ESP": f.other("A", "O", 50), "tag": web.Tag(5), "two tags": web.ServiceTag(5).Tag(6),
		"error":          Unreachable(f.at("A"), f.at("C"), f.tcp("C:80", "A:1000", "A")),
		"first fragment": f.udp("A:1000", "C:53").Pad(96).Fragment(7, 0, 48), "later fragment": f.udp("A:1000", "C:53").Pad(96).Fragment(7, 48, 96),
		"tunnel": f.udp("A:1000", "N:4789").Pad(50),
	}
	if f.is4() {
		out["options"] = web.Options(10)
		out["ARP"] = ARP(1, f.at("A"), f.at("N"))
		out["IGMP"] = IGMP(f.at("A"), netip.MustParseAddr("239.1.2.3"))
		out["DHCP"] = f.udp("0.0.0.0:68", "255.255.255.255:67").Pad(100)
		return out
	}
	self := netip.MustParseAddr("fe80::aa")
	out["headers"] = web.Extend(Extension{HopByHop, 8}, Extension{Routing, 24}, Extension{Auth, 24}, Extension{Destinations, 16})
	out["ask"] = ND(135, f.at("A"), SolicitedNode(f.at("N")), f.at("N"))
	out["tell"] = ND(136, f.at("A"), netip.MustParseAddr("ff02::1"), f.at("A"))
	out["MLD"] = MLD(143, self, netip.MustParseAddr("ff02::16"), netip.MustParseAddr("ff02::1:3"))
	return out
}

// turned makes a packet to the pod from one of the pod.
func turned(p Packet) Packet { p.src, p.dst = p.dst, p.src; return p }

// Every cut of every sample: the frame ends early, and the headers still say
// the whole length. Policy allows everything, and the flow is known, so that
// only the parser denies.
func TestCut(t *testing.T) {
	m := machine(t, nil)
	for _, f := range families() {
		for name, p := range samples(f) {
			t.Run(f.name+" "+name, func(t *testing.T) {
				w := newWorld(t, m, f)
				generous(w)
				frame, err := p.Frame()
				w.must(err)
				w.run(out(p, ""))
				for n := shortest(frame); n < len(frame); n++ {
					if got := w.run(out(p.Cut(n), "")); got.Passed() {
						t.Errorf("from_pod: %d of %d bytes: %v", n, len(frame), got)
					}
					if got := w.run(in(turned(p).Cut(n), "")); got.Passed() && name != "ARP" {
						t.Errorf("to_pod: %d of %d bytes: %v", n, len(frame), got)
					}
				}
				w.sound()
			})
		}
	}
}

// shortest is how much of a frame every kernel's test run takes. Shorter ones
// are tried behind a VLAN tag.
func shortest(frame []byte) int {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		return 14 + 20
	case 0x86dd:
		return 14 + 40
	}
	return 15
}

// Every length of layer 4, with headers that agree: what the parser needs and
// does not find must not be taken from elsewhere, nor be a port 0 that a rule
// allows.
func TestShort(t *testing.T) {
	m := machine(t, nil)
	needed := map[string]int{"TCP": 20, "ACK": 20, "UDP": 8, "SCTP": 12, "echo": 8, "ask": 24, "tell": 24}
	for _, f := range families() {
		for name, p := range samples(f) {
			if needed[name] == 0 {
				continue
			}
			t.Run(f.name+" "+name, func(t *testing.T) {
				w := newWorld(t, m, f)
				generous(w)
				w.run(out(p, ""))
				for n := range needed[name] {
					if got := w.run(out(p.Short(n).Trail(40), "")); got.Passed() {
						t.Errorf("from_pod: %d bytes of layer 4: %v", n, got)
					}
					got := w.run(in(turned(p).Short(n).Trail(40), ""))
					if neighbour := name == "ask" || name == "tell"; got.Passed() && !neighbour {
						t.Errorf("to_pod: %d bytes of layer 4: %v", n, got)
					}
				}
				if got := w.run(out(p.Short(needed[name]), "")); !got.Passed() {
					t.Errorf("from_pod: all %d bytes: %v", needed[name], got)
				}
			})
		}
	}
}

// generous has rules that allow every peer and port, both ways.
func generous(w *world) {
	w.sets(setNewer, setNewer)
	w.change(func(e *bpf.WeirEndpoint) {
		e.SetIngress, e.SetEgress = setNewer, setNewer
		e.Flags = uint8(bpf.WeirEndpointFlagEP_INGRESS_ANY | bpf.WeirEndpointFlagEP_EGRESS_ANY)
	})
	w.row(setNewer, 0, 0, allow(0, whole, 901))
}

// Random damage to good packets of a pod that nothing is allowed to: whatever
// comes out, only what policy does not speak of may pass.
func TestDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("WEIR_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("WEIR_SEED: %v", err)
		}
	}
	t.Logf("seed: WEIR_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := machine(t, nil)
	for _, f := range families() {
		w := newWorld(t, m, f)
		w.sets(setNone, setNone)
		for name, p := range samples(f) {
			frame, err := p.Frame()
			w.must(err)
			back, err := turned(p).Frame()
			w.must(err)
			for range 40 {
				damaged(t, w, name, FromPod, damage(random, frame))
				damaged(t, w, name, ToPod, damage(random, back))
			}
		}
		w.sound()
	}
}

func damaged(t *testing.T, w *world, name string, hook Hook, frame []byte) {
	t.Helper()
	r, err := w.m.Run(hook, frame, Context{Ifindex: w.m.Link(linkA), Ingress: w.m.Link(linkUp)})
	if errors.Is(err, ErrShort) {
		return
	}
	w.must(err)
	if err := r.Check(); err != nil {
		t.Errorf("%s: %v of %x: %v", name, r, frame, err)
	}
	harmless := map[bpf.WeirReason]bool{
		bpf.WeirReasonREASON_NEIGHBOUR: true, bpf.WeirReasonREASON_CONFIGURATION: true, bpf.WeirReasonREASON_TO_NODE: true,
		bpf.WeirReasonREASON_REPLY: true, bpf.WeirReasonREASON_ESTABLISHED: true, // of these
	}
	if r.Passed() && !harmless[r.Reason()] {
		t.Errorf("%s: %s: %v: %x", name, hook, r, frame)
	}
}

// damage changes one to four places behind the MAC addresses, and sometimes
// the length.
func damage(random *rand.Rand, frame []byte) []byte {
	out := append([]byte(nil), frame...)
	for range 1 + random.IntN(4) {
		at := 12 + random.IntN(len(out)-12)
		switch random.IntN(3) {
		case 0:
			out[at] = byte(random.Uint32())
		case 1:
			out[at] ^= 1 << random.IntN(8)
		default:
			if at+2 <= len(out) {
				binary.BigEndian.PutUint16(out[at:], []uint16{0, 1, 0xffff, 0x8000, 0x0800, 0x86dd, 0x8100}[random.IntN(7)])
			}
		}
	}
	if random.IntN(4) == 0 {
		out = out[:14+random.IntN(len(out)-13)]
	}
	return out
}
