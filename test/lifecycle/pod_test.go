// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// Pods that come and go in every order of veth and object, one after the other
// on one node. What each leaves behind is compared at the end.
func TestPods(t *testing.T) {
	s := newStage(t, "lcp")
	before := s.settled()
	for _, step := range []struct {
		name string
		run  func(*stage)
	}{
		{"the veth before the object", vethFirst},
		{"the object before the veth", objectFirst},
		{"announced", announced},
		{"a changed address", changedAddress},
		{"an address reused", addressReused},
		{"an address reused before its veth is gone", addressReusedEarly},
		{"an address reused before its object is gone", addressReusedBeforeObject},
		{"a label changed", labelChanged},
		{"a veth renamed", vethRenamed},
		{"a veth moved away", vethMoved},
		{"a pod of the same name", sameName},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(s.of(t))
			s.of(t).unchanged()
		})
	}
	s.same(before)
}

// of is the stage on behalf of a subtest.
func (s *stage) of(t *testing.T) *stage {
	c := *s
	c.t = t
	return &c
}

// unchanged: whatever happened, those who stay have what they had.
func (s *stage) unchanged() {
	s.t.Helper()
	s.passes("the client of all along", s.client, s.server)
	s.refuses("the stranger of all along", s.stranger, s.server)
}

func vethFirst(s *stage) {
	pod := s.wire("first", 20)
	s.serve(pod)
	s.passes("anybody to a veth that is no pod's", s.stranger, pod)
	s.declare(describe("first", "server", 20))
	s.inForce("first")
	s.passes("client to the new server", s.client, pod)
	s.refuses("stranger to the new server", s.stranger, pod)
	s.remove(pod, "first")
	s.gone(pod.Ifindex)
}

func objectFirst(s *stage) {
	generation := s.generation()
	s.declare(describe("second", "server", 21))
	s.await("the agent knows the pod", func() bool { return s.generation() > generation })
	pod := s.wire("second", 21)
	s.serve(pod)
	s.inForce("second")
	s.passes("client to the new server", s.client, pod)
	s.refuses("stranger to the new server", s.stranger, pod)
	s.withdraw("second") // the object goes first this time
	s.await("the veth of a pod that is gone is closed", func() bool { return s.endpoint("", pod.Ifname).GetState() == "notready" })
	s.refuses("client to the pod that is gone", s.client, pod)
	must(s.t, s.node.RemovePod(pod))
	s.gone(pod.Ifindex)
}

func changedAddress(s *stage) {
	pod := s.add("mover", "client", 22)
	s.inForce("mover")
	s.passes("from the first address", pod, s.server)
	fresh := node.Dual(23)
	for _, a := range fresh {
		s.readdress(pod, a)
	}
	moved := describe("mover", "client", 23)
	s.declare(moved)
	s.await("the endpoint has the new address", func() bool {
		e := s.endpoint("mover", "")
		return e.GetState() == "enforced" && strings.Join(e.GetIps(), " ") == fresh[0].String()+" "+fresh[1].String()
	})
	for i, a := range fresh {
		to := netip.AddrPortFrom(s.server.Addrs[i], 8080)
		if err := dialFrom(pod, a, to); err != nil {
			s.t.Errorf("from the new address: %v", err)
		}
		if dialFrom(pod, pod.Addrs[i], to) == nil {
			s.t.Errorf("from the address that the pod had before (%s): the server answers", pod.Addrs[i])
		}
	}
	s.remove(pod, "mover")
	s.gone(pod.Ifindex)
}

// dialFrom connects from an address of the pod.
func dialFrom(pod *netns.Pod, from netip.Addr, to netip.AddrPort) error {
	return pod.Do(func() error {
		dialer := net.Dialer{Timeout: 15 * silence, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err := dialer.Dial("tcp", to.String())
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func addressReused(s *stage) {
	friend := s.add("friend", "client", 24)
	s.inForce("friend")
	s.passes("a client", friend, s.server)
	s.remove(friend, "friend")
	foe := s.add("foe", "stranger", 24)
	s.inForce("foe")
	s.refuses("a stranger with the address that a client had", foe, s.server)
	s.remove(foe, "foe")
	s.gone(foe.Ifindex)
}

// The new pod's veth and object are there while the old veth still is.
func addressReusedEarly(s *stage) {
	friend := s.add("early", "client", 25)
	s.inForce("early")
	s.passes("a client", friend, s.server)
	foe := s.wire("late", 25) // the route goes to the new veth
	s.withdraw("early")
	s.declare(describe("late", "stranger", 25))
	// Closed while the old veth may still be meant, or already the new pod's;
	// before the agent has heard of the pod, the veth is nobody's.
	s.await("the new veth is closed, or the new pod's", func() bool {
		e := s.endpoint("", "vethlate")
		return e.GetState() == "notready" || e.GetPod() == "late" && e.GetState() == "enforced"
	})
	s.refuses("a stranger, before the old veth is gone", foe, s.server)
	must(s.t, s.node.RemovePod(friend))
	s.inForce("late")
	for _, a := range foe.Addrs { // the routes of the old veth went with it, or were the new one's
		must(s.t, s.routeTo(foe, a))
	}
	s.refuses("a stranger with the address that a client had", foe, s.server)
	s.declare(describe("late", "client", 25))
	s.await("the same pod as a client passes", func() bool {
		return foe.Try("tcp", netip.AddrPortFrom(s.server.Addrs[0], 8080), silence) == nil
	})
	s.remove(foe, "late")
	s.gone(foe.Ifindex)
}

// The first pod's veth is gone, and its object is not when the next pod's veth
// is there with the address.
func addressReusedBeforeObject(s *stage) {
	friend := s.add("early", "client", 30)
	s.inForce("early")
	must(s.t, s.node.RemovePod(friend))
	s.gone(friend.Ifindex)
	foe := s.wire("late", 30)
	s.await("the new veth is taken for the first pod's", func() bool {
		return s.endpoint("early", "vethlate").GetState() == "enforced"
	})
	s.withdraw("early")
	s.declare(describe("late", "stranger", 30))
	s.inForce("late")
	s.refuses("a stranger with the address that a client had", foe, s.server)
	s.remove(foe, "late")
	s.gone(foe.Ifindex)
}

func (s *stage) routeTo(pod *netns.Pod, a netip.Addr) error {
	route := &netlink.Route{LinkIndex: pod.Ifindex, Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	return s.node.Link.RouteReplace(route)
}

func labelChanged(s *stage) {
	pod := s.add("turncoat", "client", 26)
	s.inForce("turncoat")
	s.passes("a client", pod, s.server)
	s.declare(describe("turncoat", "stranger", 26))
	to := netip.AddrPortFrom(s.server.Addrs[0], 8080)
	s.await("the stranger that it is now is refused", func() bool { return pod.Try("tcp", to, silence) != nil })
	s.refuses("a stranger", pod, s.server)
	s.remove(pod, "turncoat")
	s.gone(pod.Ifindex)
}

func vethRenamed(s *stage) {
	pod := s.add("named", "server", 27)
	s.serve(pod)
	s.inForce("named")
	link, err := s.node.Link.LinkByIndex(pod.Ifindex)
	must(s.t, err)
	must(s.t, s.node.Link.LinkSetName(link, "vethother"))
	s.await("the new name is shown", func() bool { return s.endpoint("named", "").GetInterface() == "vethother" })
	s.inForce("named")
	s.passes("client to the renamed veth", s.client, pod)
	s.refuses("stranger to the renamed veth", s.stranger, pod)
	s.remove(pod, "named")
	s.gone(pod.Ifindex)
}

// The host's end of a veth that goes to another namespace and comes back.
func vethMoved(s *stage) {
	pod := s.add("nomad", "server", 28)
	s.serve(pod)
	s.inForce("nomad")
	index := pod.Ifindex
	s.move(pod, s.node.Namespace, s.node.Outside)
	s.gone(index)
	s.move(pod, s.node.Outside, s.node.Namespace)
	for _, a := range pod.Addrs {
		must(s.t, s.routeTo(pod, a))
		must(s.t, s.gatewayOn(pod, a))
	}
	s.inForce("nomad")
	s.passes("client to the veth that came back", s.client, pod)
	s.refuses("stranger to the veth that came back", s.stranger, pod)
	s.remove(pod, "nomad")
	s.gone(pod.Ifindex)
}

// move carries the host's end; its index there may be another.
func (s *stage) move(pod *netns.Pod, from, to *netns.Namespace) {
	s.t.Helper()
	link, err := from.Link.LinkByName(pod.Ifname)
	must(s.t, err)
	target, err := vnetns.GetFromPath(to.Path())
	must(s.t, err)
	defer target.Close()
	must(s.t, from.Link.LinkSetNsFd(link, int(target)))
	link, err = to.Link.LinkByName(pod.Ifname)
	must(s.t, err)
	pod.Ifindex = link.Attrs().Index
	must(s.t, to.Link.LinkSetUp(link))
}

// gatewayOn gives the host's end the gateway's address again.
func (s *stage) gatewayOn(pod *netns.Pod, a netip.Addr) error {
	gateway := s.node.Gateway4()
	if a.Is6() {
		gateway = s.node.Gateway6()
	}
	link, err := s.node.Link.LinkByIndex(pod.Ifindex)
	if err != nil {
		return err
	}
	return s.node.Link.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: nodad(a)})
}

// A pod is deleted and made again under its name, as a StatefulSet does it: the
// veth of the first is not the second's.
func sameName(s *stage) {
	first := s.add("twin", "client", 29)
	s.inForce("twin")
	s.passes("the first", first, s.server)
	second := s.wire("twin2", 30)
	again := describe("twin", "client", 30)
	s.withdraw("twin")
	s.await("the first veth is closed", func() bool { return s.endpoint("", first.Ifname).GetState() == "notready" })
	s.declare(again)
	s.await("the second veth is the pod's", func() bool {
		e := s.endpoint("", second.Ifname)
		return e.GetState() == "enforced" || e.GetState() == "notready"
	})
	must(s.t, s.node.RemovePod(first))
	s.await("the second veth is in force", func() bool {
		e := s.endpoint("", second.Ifname)
		return e.GetState() == "enforced" && e.GetPod() == "twin"
	})
	s.passes("the second", second, s.server)
	s.remove(second, "twin")
	s.gone(second.Ifindex)
}
