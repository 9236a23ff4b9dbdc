// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// policies under which only clients reach servers, on port 8080, and nobody
// else is isolated.
const policies = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8080}]
---
`

// stage is a routed node under an agent, with a server, a client and a
// stranger that stay.
type stage struct {
	t    *testing.T
	node *netns.Node
	*node.View
	agent                    *node.Agent
	declared                 []node.Pod
	server, client, stranger *netns.Pod
}

func newStage(t *testing.T, name string) *stage {
	t.Helper()
	node.RequireKernel(t)
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent")
	n, err := netns.NewNode(name, netns.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	s := &stage{t: t, node: n}
	s.agent, err = node.NewAgent(bin, filepath.Join(t.TempDir(), "weir-lifecycle-"+name), "node-a", n)
	must(t, err)
	t.Cleanup(func() { must(t, s.agent.Close()) })
	s.server = s.add("server", "server", 10)
	s.client = s.add("client", "client", 11)
	s.stranger = s.add("stranger", "stranger", 12)
	must(t, s.agent.Replace("manifests/policies.yaml", policies))
	must(t, s.agent.Start())
	must(t, s.agent.WaitReady(t.Context(), time.Minute))
	s.View, err = node.NewView(t.Context(), s.agent)
	must(t, err)
	t.Cleanup(func() { must(t, s.View.Close()) })
	for _, name := range []string{"server", "client", "stranger"} {
		s.inForce(name)
	}
	echo, err := s.server.ServeEcho(8080)
	must(t, err)
	t.Cleanup(func() { must(t, echo.Close()) })
	return s
}

// describe is a pod of the namespace shop.
func describe(name, app string, host byte) node.Pod {
	return node.Pod{Namespace: "shop", Name: name, Labels: "app: " + app, Addrs: node.Dual(host)}
}

// add wires and declares a pod.
func (s *stage) add(name, app string, host byte) *netns.Pod {
	s.t.Helper()
	pod := s.wire(name, host)
	s.declare(describe(name, app, host))
	return pod
}

// wire makes a pod's namespace and veth, without a word to the agent.
func (s *stage) wire(name string, host byte) *netns.Pod {
	s.t.Helper()
	pod, err := s.node.AddPod(name, node.Dual(host)...)
	must(s.t, err)
	return pod
}

// declare adds pods to the manifests, or changes them.
func (s *stage) declare(pods ...node.Pod) {
	s.t.Helper()
	for _, p := range pods {
		s.declared = slices.DeleteFunc(s.declared, func(old node.Pod) bool { return old.Name == p.Name })
	}
	s.declared = append(s.declared, pods...)
	s.write()
}

// withdraw takes pods out of the manifests.
func (s *stage) withdraw(names ...string) {
	s.t.Helper()
	s.declared = slices.DeleteFunc(s.declared, func(p node.Pod) bool { return slices.Contains(names, p.Name) })
	s.write()
}

func (s *stage) write() {
	s.t.Helper()
	must(s.t, s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, s.declared)))
}

// remove ends a pod as Kubernetes does: the veth goes, then the object.
func (s *stage) remove(pod *netns.Pod, name string) {
	s.t.Helper()
	must(s.t, s.node.RemovePod(pod))
	s.withdraw(name)
}

// limit of what must happen soon.
const limit = 10 * time.Second

// await fails the test when a condition does not come true.
func (s *stage) await(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			list, err := s.Endpoints()
			s.t.Fatalf("not within %s: %s; endpoints (%v): %v", limit, what, err, list)
		}
		<-tick.C
	}
}

// endpoint is what the agent shows of a pod, or of an interface; nil: nothing.
func (s *stage) endpoint(pod, ifname string) *weirv1.Endpoint {
	s.t.Helper()
	list, err := s.Endpoints()
	must(s.t, err)
	for _, e := range list {
		if (pod == "" || e.GetPod() == pod) && (ifname == "" || e.GetInterface() == ifname) {
			return e
		}
	}
	return nil
}

func (s *stage) inForce(pod string) {
	s.t.Helper()
	s.await(pod+" is enforced", func() bool { return s.endpoint(pod, "").GetState() == "enforced" })
}

// passes and refuses try both families of the server.
func (s *stage) passes(what string, from *netns.Pod, to *netns.Pod) {
	s.t.Helper()
	for _, a := range to.Addrs {
		if err := from.Try("tcp", netip.AddrPortFrom(a, 8080), limit); err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}
}

// silence is how long nobody answers one who is refused.
const silence = 200 * time.Millisecond

func (s *stage) refuses(what string, from *netns.Pod, to *netns.Pod) {
	s.t.Helper()
	for _, a := range to.Addrs {
		if from.Try("tcp", netip.AddrPortFrom(a, 8080), silence) == nil {
			s.t.Errorf("%s: %s answers", what, a)
		}
	}
}

// serve answers on 8080 until the test ends.
func (s *stage) serve(pod *netns.Pod) {
	s.t.Helper()
	echo, err := pod.ServeEcho(8080)
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, echo.Close()) })
}

// readdress gives a pod one more address inside, and its route on the node.
func (s *stage) readdress(pod *netns.Pod, a netip.Addr) {
	s.t.Helper()
	link, err := pod.Link.LinkByName("eth0")
	must(s.t, err)
	whole := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
	own := &netlink.Addr{IPNet: whole}
	route := &netlink.Route{LinkIndex: pod.Ifindex, Dst: whole, Scope: netlink.SCOPE_LINK}
	if a.Is6() {
		own.Flags, route.Scope = unix.IFA_F_NODAD, netlink.SCOPE_UNIVERSE
	}
	must(s.t, pod.Link.AddrAdd(link, own))
	must(s.t, s.node.Link.RouteReplace(route))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
