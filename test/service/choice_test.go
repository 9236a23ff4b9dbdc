// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// patience is below the second after which Linux sends a SYN again, for which
// chance decides anew: nothing keeps the choice of a packet that was denied.
const patience = 900 * time.Millisecond

// A Service with a backend that policy allows and one that it denies: every
// connection is judged on the backend that it got, by chance or by affinity.
func TestChoiceOfBackends(t *testing.T) {
	bin := build(t)
	for _, how := range []setup{
		{name: "svcn", hook: "netfilter", dialect: nft},
		{name: "svci", hook: "netfilter", dialect: iptablesNFT},
		{name: "svcx", hook: "xtables", dialect: nft},
		{name: "svcl", hook: "xtables", dialect: iptablesLegacy},
	} {
		t.Run(fmt.Sprintf("%s beside %s", how.hook, how.dialect), func(t *testing.T) {
			s := newStage(t, bin, how)
			s.chance()
			s.affinity(how.dialect)
		})
	}
}

// chosen is what a call of "svc-split" or "svc-sticky" must be if its backend
// is this one.
func chosen(service, backend string) call {
	verdict := map[string]string{"good": allowed, "bad": denied}[backend]
	return call{"", service, 80, verdict, backend, 8080, false}
}

// gamble is a connection whose backend nobody knows before.
type gamble struct {
	group   string
	family  family
	network string
	port    uint16
	conn    net.Conn // nil: TCP did not connect
	err     error    // nil: answered
}

// gambles makes calls of a Service, so many of each family and protocol, all at
// once.
func (s *stage) gambles(service string, each int, limit time.Duration) []gamble {
	s.t.Helper()
	var list []gamble
	for name, f := range families() {
		for _, network := range []string{"tcp", "udp"} {
			for range each {
				list = append(list, gamble{group: name + " " + network, family: f, network: network, port: s.sourcePort()})
			}
		}
	}
	var wait sync.WaitGroup
	for i := range list {
		g := &list[i]
		wait.Go(func() {
			g.conn, g.err = dialFrom(s.pods["client"].Namespace, g.network, g.family.at("client", g.port), g.family.at(service, 80), limit)
			if g.err == nil {
				g.err = netns.Exchange(g.conn, "weir", limit)
			}
		})
	}
	wait.Wait()
	for _, g := range list {
		if g.conn != nil {
			s.t.Cleanup(func() { g.conn.Close() })
		}
	}
	return list
}

// backends says by the events which backend each of the calls got.
func (s *stage) backends(service string, list []gamble) map[uint16]string {
	s.t.Helper()
	var ports []uint16
	for _, g := range list {
		ports = append(ports, g.port)
	}
	got := map[uint16]string{}
	var told map[uint16][]flow
	if !await(answerLimit, func() bool {
		told = s.flows(ports...)
		for _, g := range list {
			for _, backend := range []string{"good", "bad"} {
				if contains(told[g.port], chosen(service, backend).want(g.family)) {
					got[g.port] = backend
				}
			}
		}
		return len(got) == len(list)
	}) {
		for _, g := range list {
			if got[g.port] == "" {
				s.t.Errorf("%s to %s: the events are %v, want one of a backend", g.group, service, told[g.port])
			}
		}
	}
	return got
}

func (s *stage) chance() {
	s.t.Helper()
	good, bad := s.seen["good"].Load(), s.seen["bad"].Load()
	list := s.gambles("svc-split", 24, patience) // all alike: once in 2^23 runs
	got := s.backends("svc-split", list)
	counts := map[string]int{}
	var again []gamble
	for _, g := range list {
		backend := got[g.port]
		counts[g.group+" "+backend]++
		if answered := g.err == nil; answered != (backend == "good") {
			s.t.Errorf("%s: the backend is %q by the events, the client says %v", g.group, backend, g.err)
		}
		if g.err == nil {
			good++
		} else if g.network == "udp" {
			again = append(again, g)
		}
	}
	s.t.Logf("backends by chance: %v", counts)
	for _, g := range list {
		for _, backend := range []string{"good", "bad"} {
			if counts[g.group+" "+backend] == 0 {
				s.t.Fatalf("%s: no call of %d got the backend %s", g.group, len(list)/4, backend)
			}
		}
	}
	if got := s.seen["good"].Load(); got != good {
		s.t.Errorf("the allowed backend took %d calls more than were answered", got-good)
	}
	s.chanceAgain(again)
	if got := s.seen["bad"].Load(); got != bad {
		s.t.Errorf("the denied backend took %d calls", got-bad)
	}
}

// chanceAgain: what was denied on one backend goes on, from the same port, until
// it gets the other one; the verdict of before does not stick to it.
func (s *stage) chanceAgain(list []gamble) {
	s.t.Helper()
	var wait sync.WaitGroup
	for _, g := range list {
		wait.Go(func() {
			if !await(2*answerLimit, func() bool { return netns.Exchange(g.conn, "weir", silence) == nil }) {
				s.t.Errorf("%s: no answer, whatever the backend", g.group)
				return
			}
			for range 3 {
				if err := netns.Exchange(g.conn, "weir", answerLimit); err != nil {
					s.t.Errorf("%s: answered, and then not: %v", g.group, err)
				}
			}
		})
	}
	wait.Wait()
	for _, g := range list {
		s.told(g.port, chosen("svc-split", "good").want(g.family))
	}
}

// affinity: the backend that a client's first call gets is that of the next
// ones, and so is the verdict. Rounds begin until both backends were first.
func (s *stage) affinity(d dialect) {
	s.t.Helper()
	rounds := map[string]int{}
	for round := 0; len(rounds) < 8; round++ { // 4 groups, 2 backends
		if round == 40 { // once in 2^37 runs
			s.t.Fatalf("after %d rounds, the first backends are %v", round, rounds)
		}
		must(s.t, s.forget(d))
		first := s.gambles("svc-sticky", 1, silence)
		got := s.backends("svc-sticky", first)
		if s.t.Failed() {
			return
		}
		var next []exchange
		for _, g := range first {
			backend := got[g.port]
			rounds[g.group+" "+backend]++
			for range 6 {
				title := fmt.Sprintf("%s: after %s", g.group, backend)
				next = append(next, exchange{call: chosen("svc-sticky", backend), title: title, family: g.family, network: g.network})
			}
		}
		s.checkAll(next)
	}
	s.t.Logf("backends that clients stuck to: %v", rounds)
}

// forget which client belongs to which backend.
func (s *stage) forget(d dialect) error {
	if d == nft {
		return translation{services: allServices()}.write(s.node, d)
	}
	return s.node.Do(func() error {
		tables, err := filepath.Glob("/proc/thread-self/net/xt_recent/KUBE-SEP-*")
		for _, table := range tables {
			if err := os.WriteFile(table, []byte("/\n"), 0); err != nil {
				return err
			}
		}
		if err == nil && len(tables) == 0 {
			err = fmt.Errorf("no list of clients in xt_recent")
		}
		return err
	})
}

// NodeLocal DNS goes, with its address and its rules, and comes back: while it
// is away the Service leads to its backends, and is judged on them.
func TestNodeLocalDNS(t *testing.T) {
	eachHook(t, "svd", func(t *testing.T, s *stage) {
		both := func(when string, c call) {
			t.Helper()
			var list []exchange
			for name, f := range families() {
				for _, network := range []string{"tcp", "udp"} {
					list = append(list, exchange{call: c, title: when + ": " + name + " " + network, family: f, network: network})
				}
			}
			s.checkAll(list)
		}
		here := call{"", "svc-dns", 80, deferred, "", 0, false}
		both("at first", here)
		link, err := s.node.Link.LinkByName(localDNS)
		must(t, err)
		must(t, s.node.Link.LinkDel(link))
		away := translation{services: allServices()}
		for i := range away.services {
			away.services[i].local = false
		}
		must(t, away.write(s.node, nft))
		both("away", call{"", "svc-dns", 80, denied, "bad", 8080, false})
		must(t, s.bindOnNode("svc-dns"))
		must(t, translation{services: allServices()}.write(s.node, nft))
		both("back", here)
	})
}
