// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// Policies of the stage: evil may send UDP to the host outside and TCP to
// friend; web takes friend alone and sends to the host outside alone; friend
// takes TCP of evil; whoever has the tier "reused" takes nothing. open is
// selected by none.
const policies = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: evil}
spec:
  podSelector: {matchLabels: {app: evil}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 8080}]
  egress:
  - to: [{ipBlock: {cidr: 192.168.77.2/32}}, {ipBlock: {cidr: "fd00:77::2/128"}}]
    ports: [{protocol: UDP, port: 9000, endPort: 9999}]
  - to: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 8080}, {protocol: UDP, port: 8080}]
  egress:
  - to: [{ipBlock: {cidr: 192.168.77.2/32}}, {ipBlock: {cidr: "fd00:77::2/128"}}]
    ports: [{protocol: UDP, port: 9000, endPort: 9999}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: friend}
spec:
  podSelector: {matchLabels: {app: friend}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: evil}}}]
    ports: [{port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: reused}
spec:
  podSelector: {matchLabels: {tier: reused}}
  policyTypes: [Ingress]
---
`

// stage is a node with its pods and everything that may be attacked, and later
// the agent.
type stage struct {
	t       *testing.T
	node    *netns.Node
	agent   *node.Agent
	bridged bool
	strict  bool // the agent takes no TCP for mid-stream
	tracked bool // the node's conntrack puts fragments together
	bridge  net.HardwareAddr

	evil, web, friend, open *netns.Pod
	wires                   map[string]*wire
	*node.View
}

func newStage(t *testing.T, name, bin string, wiring netns.Wiring) *stage {
	t.Helper()
	n, err := netns.NewNode(name, netns.Options{Wiring: wiring})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	s := &stage{t: t, node: n, bridged: wiring == netns.Bridged, wires: map[string]*wire{}}
	for _, p := range s.pods() {
		*p.at, err = n.AddPod(p.Name, p.Addrs...)
		must(t, err)
	}
	s.softenNode()
	s.openWires()
	s.agent, err = node.NewAgent(bin, filepath.Join(t.TempDir(), "weir-hostile-"+name), "node-a", n)
	must(t, err)
	s.agent.Args = []string{"--max-flows=16384"}
	if s.bridged {
		s.strict = true
		s.agent.Args = append(s.agent.Args, "--midstream=strict")
	}
	return s
}

type seat struct {
	node.Pod
	at **netns.Pod
}

func (s *stage) pods() []seat {
	pod := func(name string, host byte, at **netns.Pod) seat {
		return seat{node.Pod{Namespace: "shop", Name: name, Labels: "app: " + name, Addrs: node.Dual(host)}, at}
	}
	return []seat{pod("web", 10, &s.web), pod("friend", 11, &s.friend), pod("open", 12, &s.open), pod("evil", 66, &s.evil)}
}

// softenNode takes away what else might stand in an attacker's way, and gives
// the node tunnels that believe what they are sent.
func (s *stage) softenNode() {
	s.t.Helper()
	must(s.t, s.node.Sysctl("net/ipv4/conf/all/accept_local", "1"))
	for _, tunnel := range []*netlink.Vxlan{
		{LinkAttrs: netlink.LinkAttrs{Name: "vx4"}, VxlanId: 42, SrcAddr: netns.NodeAddr4.AsSlice(), Port: vxlanPort4, Learning: true},
		{LinkAttrs: netlink.LinkAttrs{Name: "vx6"}, VxlanId: 43, SrcAddr: netns.NodeAddr6.AsSlice(), Port: vxlanPort6, Learning: true},
	} {
		must(s.t, s.node.Link.LinkAdd(tunnel))
		must(s.t, s.node.Link.LinkSetUp(tunnel))
	}
	if s.bridged {
		link, err := s.node.Link.LinkByName("cni0")
		must(s.t, err)
		s.bridge = link.Attrs().HardwareAddr
		// Set, it stays: else it is that of whatever port has the lowest.
		must(s.t, s.node.Link.LinkSetHardwareAddr(link, s.bridge))
		return
	}
	s.tracked = s.node.Do(func() error {
		return exec.Command("nft", "add table inet hostile; add chain inet hostile first { type filter hook prerouting priority 0; };"+
			" add rule inet hostile first ct state established accept").Run()
	}) == nil
	if !s.tracked {
		s.t.Log("no nft or no conntrack here: fragments are not put together on this node")
	}
}

const (
	vxlanPort4 = 4789
	vxlanPort6 = 4790
)

func (s *stage) openWires() {
	s.t.Helper()
	add := func(name string, w *wire, err error) {
		must(s.t, err)
		s.t.Cleanup(func() { must(s.t, w.Close()) })
		s.wires[name] = w
	}
	for _, p := range s.pods() {
		w, err := newWire((*p.at).Namespace, "eth0")
		add(p.Name, w, err)
	}
	w, err := newWire(s.node.Outside, "eth0")
	add("outside", w, err)
	for name, protocol := range map[string]int{"node-ipip": 4, "node-gre": 47, "node-etherip": 97, "node-udp": 17} {
		w, err := newDelivery(s.node.Namespace, unix.AF_INET, protocol)
		add(name, w, err)
	}
	w, err = newDelivery(s.node.Namespace, unix.AF_INET6, 41)
	add("node-sit", w, err)
}

// start brings weir into force, and opens the agent's eyes for the test.
func (s *stage) start() {
	t := s.t
	t.Helper()
	t.Cleanup(func() { must(t, s.agent.Close()) })
	s.declare()
	must(t, s.agent.Replace("manifests/policies.yaml", policies))
	must(t, s.agent.Start())
	must(t, s.agent.WaitReady(t.Context(), time.Minute))
	var err error
	s.View, err = node.NewView(t.Context(), s.agent)
	must(t, err)
	t.Cleanup(func() { must(t, s.View.Close()) })
	for _, p := range s.pods() {
		s.await("pod "+p.Name+" is enforced", func() (bool, error) { return s.Enforced(p.Name) })
	}
}

// declare tells the agent of the pods, and of more.
func (s *stage) declare(more ...node.Pod) {
	s.t.Helper()
	for _, p := range s.pods() {
		more = append(more, p.Pod)
	}
	must(s.t, s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, more)))
}

// await fails the test when a condition does not come true.
func (s *stage) await(what string, holds func() (bool, error)) {
	s.t.Helper()
	ok, err := eventually(holds)
	must(s.t, err)
	if !ok {
		s.t.Fatalf("not within %s: %s", patience, what)
	}
}

// forgetNeighbours undoes what forged answers left in pods.
func (s *stage) forgetNeighbours() {
	s.t.Helper()
	for _, p := range s.pods() {
		list, err := (*p.at).Link.NeighList(0, netlink.FAMILY_ALL)
		must(s.t, err)
		for _, n := range list {
			if err := (*p.at).Link.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				s.t.Fatal(err)
			}
		}
	}
}

// hop is the MAC address that a frame of sender to an address goes to.
func (s *stage) hop(sender string, to netip.Addr) net.HardwareAddr {
	if sender == "outside" {
		link, err := s.node.Link.LinkByName("uplink")
		must(s.t, err)
		return link.Attrs().HardwareAddr
	}
	if s.bridged {
		for _, p := range s.pods() {
			for _, a := range p.Addrs {
				if a == to {
					return (*p.at).MAC
				}
			}
		}
		return s.bridge
	}
	return s.podNamed(sender).HostMAC
}

func (s *stage) podNamed(name string) *netns.Pod {
	for _, p := range s.pods() {
		if p.Name == name {
			return *p.at
		}
	}
	s.t.Fatalf("no pod %s", name)
	return nil
}

// pin is the path of a pinned map of the agent, whatever its folder is called.
func (s *stage) pin(name string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.agent.Pins, "*", name))
	must(s.t, err)
	if len(found) != 1 {
		s.t.Fatal(&fs.PathError{Op: "find one pin", Path: filepath.Join(s.agent.Pins, "*", name), Err: fs.ErrNotExist})
	}
	return found[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
