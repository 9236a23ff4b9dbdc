// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

func build(t *testing.T) string {
	t.Helper()
	node.RequireKernel(t)
	for _, d := range []dialect{nft, iptablesLegacy, iptablesNFT} {
		if _, err := exec.LookPath(string(d)); err != nil {
			t.Skipf("%v: install the Debian packages iptables and nftables", err)
		}
	}
	return node.Build(t, "../../cmd/weir", "../../cmd/weir-agent")
}

// call is one exchange of the client and how it must end.
type call struct {
	name    string
	to      string
	port    uint16
	verdict string // as weir observe says: kind, verdict, reason
	backend string // where it must lead
	target  uint16
	lost    bool // whatever the verdict, nobody answers
}

const (
	allowed  = "NEW ALLOWED RULE"
	denied   = "NEW DENIED NO_RULE"
	deferred = "NEW ALLOWED DEFERRED"
	noHook   = "NEW DENIED NO_HOOK"
)

func calls() []call {
	return []call{
		{"a backend that a rule allows, by its named port", "svc-good", 80, allowed, "good", 8080, false},
		{"a backend that no rule allows", "svc-bad", 80, denied, "bad", 8080, false},
		{"on another node, allowed", "svc-far-good", 80, allowed, "far-good", 8080, false},
		{"on another node, denied", "svc-far-bad", 80, denied, "far-bad", 8080, false},
		{"the node itself", "svc-node", 80, deferred, "", 0, false},
		{"outside, a block and its port", "svc-outside", 80, allowed, "outside", 8080, false},
		{"outside, another port", "svc-outside", 81, denied, "outside", 9090, false},
		{"its own Service", "svc-self", 80, "NEW ALLOWED OWN_TRAFFIC", "client", 8080, false},
		{"an external address, allowed", "external-good", 80, allowed, "good", 8080, false},
		{"an external address, denied", "external-bad", 80, denied, "bad", 8080, false},
		{"a node port, allowed", "node", 30080, allowed, "good", 8080, false},
		{"a node port, denied", "node", 30081, denied, "bad", 8080, false},
		{"a node port at the pods' gateway, allowed", "gateway", 30080, allowed, "good", 8080, false},
		{"a node port at the pods' gateway, denied", "gateway", 30081, denied, "bad", 8080, false},
		{"a host port, allowed", "node", hostPortGood, allowed, "good", 8080, false},
		{"a host port, denied", "node", hostPortBad, denied, "bad", 8080, false},
		{"a host port at the pods' gateway, denied", "gateway", hostPortBad, denied, "bad", 8080, false},
		{"a load balancer's address, allowed", "balancer-good", 80, allowed, "good", 8080, false},
		{"a load balancer's address, denied", "balancer-bad", 80, denied, "bad", 8080, false},
		{"a Service whose address is on a link of the node", "svc-dns", 80, deferred, "", 0, false},
		{"another port of that Service", "svc-dns", 81, denied, "bad", 8080, false},
		{"a node port at that Service's address, denied", "svc-dns", 30081, denied, "bad", 8080, false},
		{"a port of the node that is its own", "node", 8080, deferred, "", 0, false},
		{"a Service without backends", "svc-empty", 80, deferred, "", 0, true},
		{"a Service that nobody translates", "svc-unknown", 80, denied, "", 0, true},
		{"a pod by its own address, allowed", "good", 8080, allowed, "good", 8080, false},
	}
}

// want is the event's text: the backend, and the address that was called.
func (c call) want(f family) string {
	to := f.at(c.to, c.port)
	if c.backend == "" {
		return fmt.Sprintf("%s %s", c.verdict, to)
	}
	backend := f.at(c.backend, c.target)
	if backend == to {
		return fmt.Sprintf("%s %s", c.verdict, to)
	}
	return fmt.Sprintf("%s %s by %s", c.verdict, backend, to)
}

func TestVerdictsOnBackends(t *testing.T) {
	bin := build(t)
	for _, s := range []setup{
		{name: "svnn", hook: "netfilter", dialect: nft, wiring: netns.Routed},
		{name: "svnl", hook: "netfilter", dialect: iptablesLegacy, wiring: netns.Routed},
		{name: "svni", hook: "netfilter", dialect: iptablesNFT, wiring: netns.Bridged},
		{name: "svnm", hook: "netfilter", dialect: nft, wiring: netns.Routed, masq: true},
		{name: "svxl", hook: "xtables", dialect: iptablesLegacy, wiring: netns.Routed},
		{name: "svxi", hook: "xtables", dialect: iptablesNFT, wiring: netns.Routed},
		{name: "svxn", hook: "xtables", dialect: nft, wiring: netns.Bridged},
		{name: "svxm", hook: "xtables", dialect: nft, wiring: netns.Routed, masq: true},
	} {
		wiring := map[netns.Wiring]string{netns.Routed: "routed", netns.Bridged: "bridged"}[s.wiring]
		t.Run(fmt.Sprintf("%s beside %s, %s, masquerade all %v", s.hook, s.dialect, wiring, s.masq), func(t *testing.T) {
			st := newStage(t, bin, s)
			var all []exchange
			for name, f := range families() {
				for _, network := range []string{"tcp", "udp"} {
					for _, c := range calls() {
						all = append(all, exchange{call: c, title: name + " " + network + " " + c.name, family: f, network: network})
					}
				}
			}
			st.checkAll(all)
		})
	}
}

// Packets between pods of one bridge pass no forward hook, and kube-proxy does
// not translate their answers; what leaves the bridge works as elsewhere.
func TestBridgeWithoutNetfilter(t *testing.T) {
	bin := build(t)
	for _, hook := range []string{"netfilter", "xtables"} {
		t.Run(hook, func(t *testing.T) {
			s := newStage(t, bin, setup{name: "svb" + hook[:1], hook: hook, dialect: nft, wiring: netns.Bridged, plain: true})
			for name, f := range families() {
				for _, c := range calls() {
					switch c.to {
					case "svc-far-good", "svc-far-bad", "svc-outside", "svc-node", "svc-empty", "svc-unknown":
						s.check(name+" "+c.name, f, "tcp", c)
					}
				}
			}
		})
	}
}

// Audit lets pass what would be denied, and names the backend all the same.
func TestAudit(t *testing.T) {
	bin := build(t)
	for _, hook := range []string{"netfilter", "xtables"} {
		t.Run(hook, func(t *testing.T) {
			s := newStage(t, bin, setup{name: "svu" + hook[:1], hook: hook, dialect: nft, audit: true})
			for name, f := range families() {
				for _, network := range []string{"tcp", "udp"} {
					s.check(name+" "+network, f, network, call{to: "svc-bad", port: 80, verdict: "NEW AUDITED NO_RULE", backend: "bad", target: 8080})
					s.check(name+" "+network, f, network, call{to: "svc-good", port: 80, verdict: allowed, backend: "good", target: 8080})
				}
			}
		})
	}
}

// exchange is a call by one protocol of one family.
type exchange struct {
	call
	title   string
	family  family
	network string
}

func (x exchange) passes() bool { return !x.lost && x.verdict != denied && x.verdict != noHook }

// server is who takes the call, if anyone does.
func (s *stage) server(x exchange) string {
	name := x.backend
	if name == "" {
		name = x.to
	}
	switch {
	case strings.HasPrefix(name, "far-"):
		return "outside"
	case s.seen[name] != nil:
		return name
	default:
		return "node" // by a Service or an address of its own
	}
}

// check makes the call and looks at both ends and at the event.
func (s *stage) check(name string, f family, network string, c call) {
	s.t.Helper()
	s.checkAll([]exchange{{call: c, title: name, family: f, network: network}})
}

// checkAll makes the calls at once. With an answer to each that shall have one,
// and no more at the servers than those, none of the others has arrived.
func (s *stage) checkAll(list []exchange) {
	s.t.Helper()
	before, want := map[string]int64{}, map[string]int64{}
	for name, n := range s.seen {
		before[name] = n.Load()
	}
	ports := make([]uint16, len(list))
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	for i, x := range list {
		limit := silence
		if x.passes() {
			limit = answerLimit
			want[s.server(x)]++
		}
		ports[i] = s.sourcePort()
		wait.Go(func() {
			errs[i] = tryFrom(s.pods["client"].Namespace, x.network, netip.AddrPortFrom(x.family["client"], ports[i]), x.family.at(x.to, x.port), limit)
		})
	}
	wait.Wait()
	for i, x := range list {
		if (errs[i] == nil) != x.passes() {
			s.t.Errorf("%s: the client says %v, want an answer: %v", x.title, errs[i], x.passes())
		}
	}
	for name, n := range s.seen {
		if got := n.Load() - before[name]; got != want[name] {
			s.t.Errorf("%s took %d calls of %d, want %d", name, got, len(list), want[name])
		}
	}
	told := map[uint16][]flow{}
	missing := func(i int) bool { return !contains(told[ports[i]], list[i].want(list[i].family)) }
	_ = await(5*time.Second, func() bool {
		told = s.flows(ports...)
		for i := range list {
			if missing(i) {
				return false
			}
		}
		return true
	})
	for i, x := range list {
		if missing(i) {
			s.t.Errorf("%s: the events are %v, want %s", x.title, told[ports[i]], x.want(x.family))
		}
	}
}

func contains(list []flow, want string) bool {
	for _, f := range list {
		if f.String() == want {
			return true
		}
	}
	return false
}
