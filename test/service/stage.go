// SPDX-License-Identifier: Apache-2.0

package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	answerLimit = 5 * time.Second
	silence     = 300 * time.Millisecond // is what a denial looks like
)

// family has an address for each name that the tests use.
type family map[string]netip.Addr

// families: "good" and "bad" are backends on this node, "far-good" and
// "far-bad" on another one, which is the host outside. "shut" may neither
// receive nor send. "gateway" is the node's address towards its pods, "any" every
// address of the node, and "svc-dns" one of them on a link of its own.
func families() map[string]family {
	at := func(list ...string) family {
		f := family{}
		for i, name := range []string{"client", "good", "bad", "free", "far-good", "far-bad", "node", "outside",
			"svc-good", "svc-bad", "svc-far-good", "svc-far-bad", "svc-node", "svc-outside", "svc-self", "svc-empty", "svc-unknown", "external-good", "external-bad", "shut",
			"svc-dns", "svc-split", "svc-sticky", "balancer-good", "balancer-bad", "gateway", "any"} {
			f[name] = netip.MustParseAddr(list[i])
		}
		return f
	}
	return map[string]family{
		"IPv4": at("10.244.1.10", "10.244.1.11", "10.244.1.12", "10.244.1.13", "10.244.2.11", "10.244.2.12", "192.168.77.1", "192.168.77.2",
			"10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4", "10.96.0.5", "10.96.0.6", "10.96.0.7", "10.96.0.8", "10.96.0.9", "203.0.113.1", "203.0.113.2", "10.244.1.14",
			"10.96.0.10", "10.96.0.11", "10.96.0.12", "198.51.100.1", "198.51.100.2", "10.244.1.1", "0.0.0.0"),
		"IPv6": at("fd00:10:244:1::10", "fd00:10:244:1::11", "fd00:10:244:1::12", "fd00:10:244:1::13", "fd00:10:244:2::11", "fd00:10:244:2::12", "fd00:77::1", "fd00:77::2",
			"fd00:96::1", "fd00:96::2", "fd00:96::3", "fd00:96::4", "fd00:96::5", "fd00:96::6", "fd00:96::7", "fd00:96::8", "fd00:96::9", "2001:db8:1::1", "2001:db8:1::2", "fd00:10:244:1::14",
			"fd00:96::10", "fd00:96::11", "fd00:96::12", "2001:db8:2::1", "2001:db8:2::2", "fd00:10:244:1::1", "::"),
	}
}

func (f family) at(name string, port uint16) netip.AddrPort { return netip.AddrPortFrom(f[name], port) }

// services of a family, as kube-proxy and portmap translate them.
func (f family) services() []service {
	var list []service
	add := func(name string, port, target uint16, backends ...string) {
		for _, network := range []string{"tcp", "udp"} {
			s := service{network: network, at: f.at(name, port), affinity: name == "svc-sticky", local: name == "svc-dns" && port == 80}
			for _, b := range backends {
				s.backends = append(s.backends, f.at(b, target))
			}
			list = append(list, s)
		}
	}
	add("svc-good", 80, 8080, "good")
	add("svc-bad", 80, 8080, "bad")
	add("svc-far-good", 80, 8080, "far-good")
	add("svc-far-bad", 80, 8080, "far-bad")
	add("svc-node", 80, 8080, "node")
	add("svc-outside", 80, 8080, "outside") // a rule's block and port
	add("svc-outside", 81, 9090, "outside") // another port
	add("svc-self", 80, 8080, "client")
	add("svc-empty", 80, 0)
	add("svc-dns", 80, 8080, "bad")
	add("svc-dns", 81, 8080, "bad")
	add("svc-split", 80, 8080, "good", "bad")
	add("svc-sticky", 80, 8080, "good", "bad")
	add("external-good", 80, 8080, "good")
	add("external-bad", 80, 8080, "bad")
	add("balancer-good", 80, 8080, "good")
	add("balancer-bad", 80, 8080, "bad")
	add("any", 30080, 8080, "good")
	add("any", 30081, 8080, "bad")
	add("any", 30082, 8080, "client")
	add("any", 30083, 8080, "shut")
	add("any", hostPortGood, 8080, "good")
	add("any", hostPortBad, 8080, "bad")
	return list
}

func allServices() []service {
	return slices.Concat(families()["IPv4"].services(), families()["IPv6"].services())
}

// stage is a node with pods, servers on all of them, and an agent.
type stage struct {
	t     *testing.T
	node  *netns.Node
	pods  map[string]*netns.Pod
	seen  map[string]*atomic.Int64 // TCP connections and UDP packets that a server took
	agent *node.Agent
	port  uint16 // last one that a client took
}

// setup says how a stage is made.
type setup struct {
	name    string // of namespaces; at most 6 characters
	hook    string // --forward-hook
	dialect dialect
	wiring  netns.Wiring
	masq    bool
	audit   bool
	// plain: a bridge whose packets do not go through netfilter.
	plain bool
}

func newStage(t *testing.T, bin string, s setup) *stage {
	t.Helper()
	n, err := netns.NewNode(s.name, netns.Options{Wiring: s.wiring})
	must(t, err)
	t.Cleanup(func() { report(t, n.Close()) })
	st := &stage{t: t, node: n, pods: map[string]*netns.Pod{}, seen: map[string]*atomic.Int64{}, port: 20000}
	for _, name := range []string{"client", "good", "bad", "free", "shut"} {
		st.pods[name], err = n.AddPod(name, families()["IPv4"][name], families()["IPv6"][name])
		must(t, err)
	}
	must(t, st.otherNode())
	must(t, st.bindOnNode("svc-dns"))
	if s.wiring == netns.Bridged && !s.plain {
		st.bridgeNetfilter()
	}
	must(t, translation{services: allServices(), masqueradeAll: s.masq}.write(n, s.dialect))
	for name, ns := range map[string]*netns.Namespace{
		"client": st.pods["client"].Namespace, "good": st.pods["good"].Namespace, "bad": st.pods["bad"].Namespace,
		"node": n.Namespace, "outside": n.Outside,
	} {
		st.seen[name] = &atomic.Int64{}
		for _, port := range []uint16{8080, 9090} {
			if port == 8080 || name == "outside" {
				st.serve(name, ns, port)
			}
		}
	}
	st.serve("node", n.Namespace, 80)
	st.startAgent(bin, s)
	return st
}

// otherNode: the host outside has the addresses of two pods.
func (s *stage) otherNode() error {
	out, err := s.node.Outside.Link.LinkByName("eth0")
	if err != nil {
		return err
	}
	uplink, err := s.node.Link.LinkByName("uplink")
	if err != nil {
		return err
	}
	for _, f := range families() {
		everything := &netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: anywhere(f["outside"]), Gw: f["outside"].AsSlice()}
		if err := s.node.Link.RouteReplace(everything); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
		for _, name := range []string{"far-good", "far-bad"} {
			err := errors.Join(
				s.node.Outside.Link.AddrReplace(out, &netlink.Addr{IPNet: single(f[name]), Flags: unix.IFA_F_NODAD}),
				s.node.Link.RouteReplace(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: single(f[name]), Gw: f["outside"].AsSlice()}))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// localDNS is a link of the node that carries a Service's address, as NodeLocal
// DNS has it; not every kernel has the dummy link that it takes, and a bridge
// without ports does the same.
const localDNS = "nodelocaldns"

func (s *stage) bindOnNode(name string) error {
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: localDNS}}
	if err := s.node.Link.LinkAdd(link); err != nil {
		return fmt.Errorf("add %s: %w", localDNS, err)
	}
	if err := s.node.Link.LinkSetUp(link); err != nil {
		return err
	}
	for _, f := range families() {
		if err := s.node.Link.AddrAdd(link, &netlink.Addr{IPNet: single(f[name]), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("address %s on %s: %w", f[name], localDNS, err)
		}
		// IPv6 makes an address's route behind the request's back.
		if !await(answerLimit, func() bool {
			routes, err := s.node.Link.RouteGet(f[name].AsSlice())
			return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
		}) {
			return fmt.Errorf("address %s on %s: no route of the node leads to it", f[name], localDNS)
		}
	}
	return nil
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func anywhere(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, a.BitLen()/8), Mask: net.CIDRMask(0, a.BitLen())}
}

// bridgeNetfilter: without it a pod reaches no backend on its own bridge.
func (s *stage) bridgeNetfilter() {
	s.t.Helper()
	port, err := s.node.Link.LinkByName(s.pods["client"].Ifname)
	must(s.t, err)
	must(s.t, s.node.Link.LinkSetHairpin(port, true)) // as CNIs do, for the pod's own Service
	for _, name := range []string{"iptables", "ip6tables"} {
		if err := s.node.Sysctl("net/bridge/bridge-nf-call-"+name, "1"); err != nil {
			s.t.Skipf("no bridge netfilter: %v", err)
		}
	}
}

// serve echoes and counts.
func (s *stage) serve(name string, ns *netns.Namespace, port uint16) {
	s.t.Helper()
	echo, err := ns.ServeEcho(port)
	must(s.t, err)
	echo.Count(s.seen[name])
	s.t.Cleanup(func() { report(s.t, echo.Close()) })
}

// await polls until f is true, and says whether it was within the limit.
func await(limit time.Duration, f func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if f() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// flow is what `weir observe -o json` says.
type flow struct {
	Kind, Verdict, Reason, Direction string
	Source, Destination, Service     end
	Repeats                          int
}

type end struct {
	IP, Namespace, Name string
	Port                uint16
}

func (e end) String() string {
	addr, _ := netip.ParseAddr(e.IP)
	return netip.AddrPortFrom(addr, e.Port).String()
}

// String is what the tests compare.
func (f flow) String() string {
	said := fmt.Sprintf("%s %s %s %s", strings.TrimPrefix(f.Kind, "FLOW_KIND_"), strings.TrimPrefix(f.Verdict, "VERDICT_"),
		strings.TrimPrefix(f.Reason, "REASON_"), f.Destination)
	if f.Service.IP != "" {
		said += fmt.Sprintf(" by %s", f.Service)
	}
	return said
}

// flows from these source ports, oldest first.
func (s *stage) flows(ports ...uint16) map[uint16][]flow {
	s.t.Helper()
	args := []string{"observe", "--last", "0", "-o", "json"}
	if len(ports) == 1 {
		args = append(args, "--port", fmt.Sprint(ports[0]))
	}
	out, err := s.agent.Weir(args...).Output()
	must(s.t, err)
	found := map[uint16][]flow{}
	for line := range strings.Lines(string(out)) {
		var f flow
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			s.t.Fatalf("weir observe: %v in %q", err, line)
		}
		if slices.Contains(ports, f.Source.Port) && f.Direction == "DIRECTION_EGRESS" {
			found[f.Source.Port] = append(found[f.Source.Port], f)
		}
	}
	return found
}

// told waits for an egress event of this source port.
func (s *stage) told(port uint16, want string) {
	s.t.Helper()
	var list []flow
	if !await(15*time.Second, func() bool {
		list = s.flows(port)[port]
		return slices.ContainsFunc(list, func(f flow) bool { return f.String() == want })
	}) {
		s.t.Errorf("events of port %d: %v, want %s", port, list, want)
	}
}

// sourcePort is one that no other connection of the stage has.
func (s *stage) sourcePort() uint16 {
	s.port++
	return s.port
}

// dial from a pod or namespace, by a source port of its own.
func (s *stage) dial(from *netns.Namespace, network string, source netip.Addr, to netip.AddrPort, limit time.Duration) (net.Conn, uint16, error) {
	port := s.sourcePort()
	conn, err := dialFrom(from, network, netip.AddrPortFrom(source, port), to, limit)
	return conn, port, err
}

func dialFrom(ns *netns.Namespace, network string, source, to netip.AddrPort, limit time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		dialer := net.Dialer{Timeout: limit}
		if network == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(source)
		} else {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(source)
		}
		conn, err = dialer.Dial(network, to.String())
		return err
	})
	return conn, err
}

// try is one exchange.
func (s *stage) try(from *netns.Namespace, network string, source netip.Addr, to netip.AddrPort, limit time.Duration) (uint16, error) {
	port := s.sourcePort()
	return port, tryFrom(from, network, netip.AddrPortFrom(source, port), to, limit)
}

func tryFrom(ns *netns.Namespace, network string, source, to netip.AddrPort, limit time.Duration) error {
	conn, err := dialFrom(ns, network, source, to, limit)
	if err != nil {
		return err
	}
	defer conn.Close()
	return netns.Exchange(conn, "weir", limit)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func report(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
