// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/packet"
)

var outside = [2]netip.Addr{netns.OutsideAddr4, netns.OutsideAddr6}

// carries sends a packet that must arrive.
func (s *stage) carries(t *testing.T, what, sender, mark string, p packet.Packet, at string) {
	t.Helper()
	s.launch(attack{sender: sender, packets: []packet.Packet{marked(p, mark)}})
	ok, err := eventually(func() (bool, error) { return s.wires[at].has([]byte(mark)) })
	must(t, err)
	if !ok {
		t.Errorf("%s does not arrive at %s: the test would prove nothing", what, at)
	}
}

// refused sends a packet that must not arrive, for a reason.
func (s *stage) refused(t *testing.T, what, sender, mark string, p packet.Packet, subject, way, reason string) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		s.stopped(t, attack{sender: sender, packets: []packet.Packet{marked(p, mark)}, mark: mark, subject: subject, way: way, reason: reason})
	})
}

// An address that a pod gives itself is not its own, whoever has it.
func (s *stage) addressAddedInside(t *testing.T) {
	link, err := s.evil.Link.LinkByName("eth0")
	must(t, err)
	for i, text := range []string{"10.244.1.99/32", "fd00:10:244:1::99/128", "10.244.1.11/32", "fd00:10:244:1::11/128"} {
		prefix := netip.MustParsePrefix(text)
		s.acquaint(t, s.evil, s.web.Addrs[i%2])
		own := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: fullMask(prefix)}, Flags: unix.IFA_F_NODAD}
		if prefix.Addr().Is4() {
			own.Flags = 0
		}
		must(t, s.evil.Link.AddrAdd(link, own))
		before, err := s.Denied("evil", "egress", "spoofed")
		must(t, err)
		to := at(s.web.Addrs[i%2], 8080)
		mark := "added inside " + text
		must(t, s.evil.Do(func() error { return sendUDP(at(prefix.Addr(), 0), to, mark) }))
		ok, err := eventually(func() (bool, error) {
			now, err := s.Denied("evil", "egress", "spoofed")
			return now > before, err
		})
		must(t, err)
		arrived, err := s.wires["web"].has([]byte(mark))
		must(t, err)
		if !ok || arrived {
			t.Errorf("%s: denied as spoofed: %v; arrived: %v", text, ok, arrived)
		}
		must(t, s.evil.Link.AddrDel(link, own))
	}
	s.carries(t, "evil's own address", "evil", "own address still", packet.UDP(at(s.evil.Addrs[0], 45000), at(outside[0], 9300)), "outside")
}

// Errors about a flow that is there pass, but carry no more than they need, and
// only to whom the flow belongs.
func (s *stage) errorAboutKnownFlow(t *testing.T) {
	for i, family := range []string{"IPv4", "IPv6"} {
		flow := packet.UDP(at(s.web.Addrs[i], 46000), at(outside[i], 9100))
		s.carries(t, "the flow", "web", "known flow "+family, flow, "outside")
		s.carries(t, "an error about it", "outside", "short error "+family, packet.Unreachable(outside[i], s.web.Addrs[i], flow), "web")
		if i == 0 { // of IPv6 it is neighbour discovery
			s.refused(t, "a redirect", "outside", "redirect about a flow",
				packet.Quote(outside[i], s.web.Addrs[i], packet.ICMPRedirect, 1, flow), "web", "ingress", "no-rule")
		}
		s.refused(t, "too long "+family, "outside", "long error "+family,
			packet.Unreachable(outside[i], s.web.Addrs[i], flow.Pad(1300)), "web", "ingress", "no-rule")
		s.refused(t, "to another pod "+family, "outside", "error for another "+family,
			packet.Unreachable(outside[i], s.friend.Addrs[i], flow), "friend", "ingress", "no-rule")
		s.refused(t, "about another port "+family, "outside", "error about another "+family,
			packet.Unreachable(outside[i], s.web.Addrs[i], packet.UDP(at(s.web.Addrs[i], 46001), at(outside[i], 9100))), "web", "ingress", "no-rule")
	}
}

// The identifier of a pod's own echo request opens nothing for requests of
// others.
func (s *stage) echoFromOutside(t *testing.T) {
	for i, family := range []string{"IPv4", "IPv6"} {
		s.carries(t, "the pod's own request", "friend", "own echo "+family, packet.Echo(s.friend.Addrs[i], outside[i], 777), "outside")
		s.carries(t, "the answer", "outside", "echo answer "+family, packet.EchoReply(outside[i], s.friend.Addrs[i], 777), "friend")
		s.refused(t, "request "+family, "outside", "foreign echo "+family, packet.Echo(outside[i], s.friend.Addrs[i], 777), "friend", "ingress", "no-rule")
		// Both ends of the key are equal then, whoever asks.
		number := []uint16{8, 128}[i]
		s.carries(t, "the pod's own request", "friend", "own echo like its type "+family, packet.Echo(s.friend.Addrs[i], outside[i], number), "outside")
		s.refused(t, "request like its type "+family, "outside", "foreign echo like its type "+family, packet.Echo(outside[i], s.friend.Addrs[i], number), "friend", "ingress", "no-rule")
		s.refused(t, "answer with another identifier "+family, "outside", "foreign answer "+family, packet.EchoReply(outside[i], s.friend.Addrs[i], 778), "friend", "ingress", "no-rule")
	}
}

// One datagram lets the other side answer, but only its sender keeps the way
// open: 30 s unanswered, 180 s answered. The entry's ticks are moved, so that
// the test does not wait for them.
func (s *stage) wayBack(t *testing.T) {
	for n, row := range []struct {
		name     string
		answered bool
		idle     time.Duration
		open     bool
	}{
		{"unanswered, 25 s", false, 25 * time.Second, true},
		{"unanswered, 31 s", false, 31 * time.Second, false},
		{"answered, 170 s", true, 170 * time.Second, true},
		{"answered, 181 s", true, 181 * time.Second, false},
	} {
		for i, family := range []string{"IPv4", "IPv6"} {
			name, port := row.name+" "+family, uint16(47000+n)
			there := packet.UDP(at(s.evil.Addrs[i], port), at(outside[i], 9200))
			back := packet.UDP(at(outside[i], 9200), at(s.evil.Addrs[i], port))
			s.carries(t, "the datagram", "evil", "way there "+name, there, "outside")
			if row.answered {
				s.carries(t, "the first answer", "outside", "first answer "+name, back, "evil")
			}
			s.idle(t, s.flowKey(s.evil, i, port, outside[i], 9200, unix.IPPROTO_UDP), row.idle)
			if row.open {
				s.carries(t, "an answer in time: "+name, "outside", "way back "+name, back, "evil")
				continue
			}
			s.refused(t, name, "outside", "way back "+name, back, "evil", "ingress", "no-rule")
		}
	}
}

// A connection that policy has cut does not go on as a mid-stream one, though
// policy would take its packets for answers.
func (s *stage) tombstone(t *testing.T) {
	echo, err := s.friend.ServeEcho(8080)
	must(t, err)
	defer echo.Close()
	conn, err := s.evil.Dial("tcp", at(s.friend.Addrs[0], 8080), patience)
	must(t, err)
	defer conn.Close()
	must(t, netns.Exchange(conn, "before", patience))
	port := netip.MustParseAddrPort(conn.LocalAddr().String()).Port()

	told := s.Told()
	must(t, s.agent.Replace("manifests/policies.yaml", cutting(port)))
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	s.await("the connection is cut", func() (bool, error) {
		_, _ = conn.Write([]byte("x")) // may fail: it is cut
		return s.Find(told, func(f *weirv1.Flow) bool {
			return f.GetReason() == weirv1.Reason_REASON_REVOKED && f.GetInterface() == s.evil.Ifname
		}) != nil, nil
	})
	evil, friend := s.evil.Addrs[0], at(s.friend.Addrs[0], 8080)
	mark := "past the tombstone"
	before, err := s.Denied("evil", "egress", "revoked")
	must(t, err)
	s.launch(attack{sender: "evil", packets: []packet.Packet{marked(packet.TCP(at(evil, port), friend, packet.ACK), mark)}})
	s.await("an ACK of the cut connection is denied", func() (bool, error) {
		now, err := s.Denied("evil", "egress", "revoked")
		return now > before, err
	})
	if arrived, err := s.wires["friend"].has([]byte(mark)); err != nil || arrived {
		t.Errorf("an ACK of the cut connection arrived (%v)", err)
	}
	if !s.strict { // the same, where no tombstone is: so that is what stopped it
		s.carries(t, "a mid-stream ACK", "evil", "no tombstone", packet.TCP(at(evil, port+1), friend, packet.ACK), "friend")
	}
	must(t, s.agent.Replace("manifests/policies.yaml", policies))
	s.await("a new connection after the policy is back", func() (bool, error) {
		return s.evil.Try("tcp", friend, patience/6) == nil, nil
	})
}

// cutting are policies under which evil calls nobody, but friend may call evil
// at the port and the next.
func cutting(port uint16) string {
	out := strings.Replace(policies, `  - to: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 8080}]
`, "", 1)
	return strings.Replace(out, "    ports: [{port: 8080}]\n", "    ports: [{port: "+itoa(port)+", endPort: "+itoa(port+1)+"}]\n", 1)
}

// flowKey is of a pod's flow in the maps.
func (s *stage) flowKey(pod *netns.Pod, family int, port uint16, remote netip.Addr, remotePort uint16, protocol uint8) bpf.WeirFlowKey {
	key := bpf.WeirFlowKey{Ifindex: uint32(pod.Ifindex), LocalPort: packet.Port(port), RemotePort: packet.Port(remotePort), Protocol: protocol}
	key.Local, key.Remote = pod.Addrs[family].As16(), remote.As16()
	return key
}

func (s *stage) flows(t *testing.T) *ebpf.Map {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(s.pin(bpf.WeirMapFlows), nil)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func (s *stage) flow(t *testing.T, key bpf.WeirFlowKey) bpf.WeirFlow {
	t.Helper()
	var flow bpf.WeirFlow
	if err := s.flows(t).Lookup(key, &flow); err != nil {
		t.Fatalf("flow %+v: %v", key, err)
	}
	return flow
}

// idle makes it so long ago that the pod sent.
func (s *stage) idle(t *testing.T, key bpf.WeirFlowKey, d time.Duration) {
	t.Helper()
	flow := s.flow(t, key)
	flow.LastTx -= uint32(d.Seconds() * ticksPerSecond(t))
	must(t, s.flows(t).Put(key, flow))
}

// ticksPerSecond is the kernel's HZ: the coarse clock moves once a tick.
func ticksPerSecond(t *testing.T) float64 {
	t.Helper()
	var step unix.Timespec
	must(t, unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &step))
	return 1e9 / float64(step.Nano())
}
