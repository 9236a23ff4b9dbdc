// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/packet"
)

func fullMask(p netip.Prefix) net.IPMask { return net.CIDRMask(p.Bits(), p.Addr().BitLen()) }

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

// sendUDP sends one datagram with an ordinary socket.
func sendUDP(from, to netip.AddrPort, payload string) error {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(payload))
	return err
}

// A pod with the address of one that is gone gets nothing that belonged to the
// other: the flow was the veth's, not the address's.
func (s *stage) addressReused(t *testing.T) {
	pod := node.Pod{Namespace: "shop", Name: "old", Labels: "app: old, tier: reused", Addrs: node.Dual(80)}
	old := s.join(t, pod)
	tuples := func(i int) (there, back packet.Packet) {
		return packet.UDP(at(pod.Addrs[i], 48000), at(outside[i], 9400)), packet.UDP(at(outside[i], 9400), at(pod.Addrs[i], 48000))
	}
	for i, family := range []string{"IPv4", "IPv6"} {
		there, back := tuples(i)
		s.carriesFrom(t, "old", old, "flow of the old pod "+family, there)
		s.carries(t, "an answer to the old pod", "outside", "answer to the old pod "+family, back, "old")
	}
	s.leave(t, old, "old")

	pod.Name, pod.Labels = "fresh", "app: fresh, tier: reused"
	fresh := s.join(t, pod)
	for i, family := range []string{"IPv4", "IPv6"} {
		there, back := tuples(i)
		before, err := s.Denied("fresh", "ingress", "no-rule")
		must(t, err)
		mark := "answer too late " + family
		s.launch(attack{sender: "outside", packets: []packet.Packet{marked(back, mark)}})
		s.await("the late answer is denied", func() (bool, error) {
			now, err := s.Denied("fresh", "ingress", "no-rule")
			return now > before, err
		})
		if arrived, err := s.wires["fresh"].has([]byte(mark)); err != nil || arrived {
			t.Errorf("%s: it arrived at the new pod (%v)", family, err)
		}
		s.carriesFrom(t, "fresh", fresh, "flow of the new pod "+family, there)
		s.carries(t, "an answer to the new pod", "outside", "answer to the new pod "+family, back, "fresh")
	}
	s.leave(t, fresh, "fresh")
}

// join adds a pod and waits until its policy is in force.
func (s *stage) join(t *testing.T, pod node.Pod) *netns.Pod {
	t.Helper()
	p, err := s.node.AddPod(pod.Name, pod.Addrs...)
	must(t, err)
	s.declare(pod)
	s.await(pod.Name+" is enforced", func() (bool, error) { return s.Enforced(pod.Name) })
	w, err := newWire(p.Namespace, "eth0")
	must(t, err)
	s.wires[pod.Name] = w
	s.forgetOnNode(t, pod.Addrs)
	return p
}

func (s *stage) leave(t *testing.T, p *netns.Pod, name string) {
	t.Helper()
	must(t, s.wires[name].Close())
	delete(s.wires, name)
	must(t, s.node.RemovePod(p))
	s.declare()
}

// carriesFrom sends from a pod that is not one of the stage's own.
func (s *stage) carriesFrom(t *testing.T, name string, p *netns.Pod, mark string, frame packet.Packet) {
	t.Helper()
	hop := p.HostMAC
	if s.bridged {
		hop = s.bridge
	}
	s.launch(attack{sender: name, packets: []packet.Packet{marked(frame, mark)}, mac: hop})
	s.await(mark+" arrives outside", func() (bool, error) { return s.wires["outside"].has([]byte(mark)) })
}

// acquaint tells a pod the MAC address of its next hop to an address, so that
// it does not ask with a source that is refused.
func (s *stage) acquaint(t *testing.T, pod *netns.Pod, to netip.Addr) {
	t.Helper()
	link, err := pod.Link.LinkByName("eth0")
	must(t, err)
	hop, mac := to, s.hop("evil", to)
	if !s.bridged {
		if hop = s.node.Gateway4(); to.Is6() {
			hop = s.node.Gateway6()
		}
	}
	must(t, pod.Link.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: hop.AsSlice(), HardwareAddr: mac}))
}

// forgetOnNode makes the node ask again who has an address.
func (s *stage) forgetOnNode(t *testing.T, addrs []netip.Addr) {
	t.Helper()
	list, err := s.node.Link.NeighList(0, netlink.FAMILY_ALL)
	must(t, err)
	for _, n := range list {
		for _, a := range addrs {
			if n.IP.Equal(a.AsSlice()) {
				must(t, s.node.Link.NeighDel(&n))
			}
		}
	}
}
