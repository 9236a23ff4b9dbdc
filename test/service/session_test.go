// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// eachHook runs f beside a stage for each way to judge after translation.
func eachHook(t *testing.T, name string, f func(t *testing.T, s *stage)) {
	bin := build(t)
	for i, hook := range []string{"netfilter", "xtables"} {
		t.Run(hook, func(t *testing.T) {
			f(t, newStage(t, bin, setup{name: fmt.Sprintf("%s%d", name, i), hook: hook, dialect: nft}))
		})
	}
}

// session is an open connection of the client.
type session struct {
	network string
	family  string
	conn    net.Conn
	port    uint16
	to      string // the Service and the backend, as an event says them
}

func (s *stage) open() []session {
	s.t.Helper()
	var list []session
	for name, f := range families() {
		for _, network := range []string{"tcp", "udp"} {
			to := f.at("svc-good", 80)
			conn, port, err := s.dial(s.pods["client"].Namespace, network, f["client"], to, answerLimit)
			must(s.t, err)
			s.t.Cleanup(func() { conn.Close() })
			list = append(list, session{network, name, conn, port, fmt.Sprintf("%s by %s", f.at("good", 8080), to)})
		}
	}
	return list
}

func (c session) String() string { return c.family + " " + c.network }

// A policy that changes cuts sessions through a Service at their next packet,
// in both directions, and frees them again.
func TestPolicyChangeCutsSessions(t *testing.T) {
	eachHook(t, "svc", func(t *testing.T, s *stage) {
		sessions := s.open()
		for _, c := range sessions {
			if err := netns.Exchange(c.conn, "hello", answerLimit); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
			s.told(c.port, "NEW ALLOWED RULE "+c.to)
		}
		s.allow("bad")
		f := families()["IPv4"]
		if !await(10*time.Second, func() bool {
			_, err := s.try(s.pods["client"].Namespace, "tcp", f["client"], f.at("svc-bad", 80), silence)
			return err == nil
		}) {
			t.Fatal("the new policy does not come into force")
		}
		for _, c := range sessions {
			before := s.seen["good"].Load()
			if err := netns.Exchange(c.conn, "still there?", silence); err == nil {
				t.Errorf("%s: answered after the cut", c)
			}
			s.told(c.port, "REVOKED DENIED REVOKED "+c.to)
			if s.seen["good"].Load() != before {
				t.Errorf("%s: arrived at the backend after the cut", c)
			}
		}
		s.allow("good")
		for _, c := range sessions {
			if c.network == "tcp" {
				s.told(c.port, "CHANGED ALLOWED RULE "+c.to) // by what it sends again
			} else if !await(answerLimit, func() bool { return netns.Exchange(c.conn, "again", silence) == nil }) {
				t.Errorf("%s: not freed", c)
			}
		}
	})
}

// Backends that come and go cut nothing: conntrack keeps the choice.
func TestBackendChangeCutsNothing(t *testing.T) {
	eachHook(t, "sve", func(t *testing.T, s *stage) {
		sessions := s.open()
		for _, c := range sessions {
			must(t, netns.Exchange(c.conn, "hello", answerLimit))
		}
		changed := translation{services: allServices()}
		for i, v := range changed.services {
			for _, f := range families() {
				if v.at == f.at("svc-good", 80) {
					changed.services[i].backends = []netip.AddrPort{f.at("bad", 8080)}
				}
			}
		}
		must(t, changed.write(s.node, nft))
		for _, c := range sessions {
			if err := netns.Exchange(c.conn, "still there?", answerLimit); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		}
		for name, f := range families() {
			s.check(name+" a new connection to the new backend", f, "tcp", call{"", "svc-good", 80, denied, "bad", 8080, false})
		}
	})
}

// Answers of a pod that is isolated for egress, to clients that came through a
// Service: their tuple at the hook is not the one that came in, where the
// client was masqueraded.
func TestAnswersOfBackends(t *testing.T) {
	bin := build(t)
	for i, masq := range []bool{false, true} {
		for j, hook := range []string{"netfilter", "xtables"} {
			t.Run(fmt.Sprintf("%s masquerade %v", hook, masq), func(t *testing.T) {
				s := newStage(t, bin, setup{name: fmt.Sprintf("sva%d%d", i, j), hook: hook, dialect: nft, masq: masq})
				for name, f := range families() {
					for _, network := range []string{"tcp", "udp"} {
						if _, err := s.try(s.node.Outside, network, f["outside"], f.at("node", 30082), answerLimit); err != nil {
							t.Errorf("%s %s: from outside by a node port: %v", name, network, err)
						}
						if _, err := s.try(s.pods["free"].Namespace, network, f["free"], f.at("svc-self", 80), answerLimit); err != nil {
							t.Errorf("%s %s: from another pod by the Service: %v", name, network, err)
						}
					}
				}
			})
		}
	}
}

// A pod that calls its own Service on a node that does not masquerade the call:
// weir allows it, and Linux does not take a packet with its own address as
// source from a wire. The same call works with masquerade, so the lack of an
// answer is not weir's.
func TestHairpinWithoutMasquerade(t *testing.T) {
	eachHook(t, "svh", func(t *testing.T, s *stage) {
		client := s.pods["client"].Namespace
		for name, f := range families() {
			for _, network := range []string{"tcp", "udp"} {
				must(t, translation{services: allServices()}.write(s.node, nft))
				if _, err := s.try(client, network, f["client"], f.at("svc-self", 80), answerLimit); err != nil {
					t.Errorf("%s %s with masquerade: %v", name, network, err)
				}
				must(t, translation{services: allServices(), masqueradeNone: true}.write(s.node, nft))
				port, err := s.try(client, network, f["client"], f.at("svc-self", 80), silence)
				if err == nil {
					t.Errorf("%s %s without masquerade: it works, so the limit that README states is gone", name, network)
				}
				s.told(port, fmt.Sprintf("NEW ALLOWED OWN_TRAFFIC %s by %s", f.at("client", 8080), f.at("svc-self", 80)))
			}
		}
	})
}

// A pod that no policy isolates uses Services as if weir were not there.
func TestNotIsolated(t *testing.T) {
	eachHook(t, "svf", func(t *testing.T, s *stage) {
		for name, f := range families() {
			for _, network := range []string{"tcp", "udp"} {
				for _, to := range []string{"svc-bad", "svc-far-bad", "svc-node", "external-bad"} {
					port, err := s.try(s.pods["free"].Namespace, network, f["free"], f.at(to, 80), answerLimit)
					if err != nil {
						t.Errorf("%s %s to %s: %v", name, network, to, err)
					}
					s.told(port, fmt.Sprintf("NEW ALLOWED NOT_ISOLATED %s", f.at(to, 80)))
				}
			}
		}
	})
}

// The client is gone when the answer comes: its ICMP error has to reach the
// backend, through translation and policy.
func TestErrorsReachBackends(t *testing.T) {
	eachHook(t, "svi", func(t *testing.T, s *stage) {
		for name, f := range families() {
			before := s.unreachable()
			if !await(20*time.Second, func() bool {
				conn, _, err := s.dial(s.pods["client"].Namespace, "udp", f["client"], f.at("svc-good", 80), answerLimit)
				must(t, err)
				_, err = conn.Write([]byte("gone before you answer"))
				must(t, err)
				conn.Close()
				return s.unreachable() > before
			}) {
				t.Errorf("%s: no error has reached the backend", name)
			}
		}
		out, err := s.agent.Weir("observe", "--last", "0", "--verdict", "denied").CombinedOutput()
		must(t, err)
		if strings.Contains(string(out), "ICMP") {
			t.Errorf("errors were denied:\n%s", out)
		}
	})
}

// unreachable counts the errors of both families that the backend was told.
func (s *stage) unreachable() int {
	s.t.Helper()
	n := 0
	must(s.t, s.pods["good"].Do(func() error {
		four, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		six, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		n = column(string(four), "Icmp:", "InDestUnreachs") + field(string(six), "Icmp6InDestUnreachs")
		return nil
	}))
	return n
}

// column of a table whose first line with the prefix has the names.
func column(table, prefix, name string) int {
	var names []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != prefix:
		case names == nil:
			names = fields
		default:
			return number(fields[slices.Index(names, name)])
		}
	}
	return 0
}

func field(table, name string) int {
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			return number(fields[1])
		}
	}
	return 0
}

func number(s string) int {
	n := 0
	_, _ = fmt.Sscan(s, &n) // 0 for what is none
	return n
}

// Without a hook what would need one is denied, and nothing else.
func TestWithoutHook(t *testing.T) {
	s := newStage(t, build(t), setup{name: "svno", hook: "none", dialect: iptablesNFT, wiring: netns.Routed})
	for name, f := range families() {
		for _, c := range []call{
			{"a Service", "svc-good", 80, noHook, "", 0, false},
			{"an external address", "external-good", 80, noHook, "", 0, false},
			{"a load balancer's address", "balancer-good", 80, noHook, "", 0, false},
			{"a node port", "node", 30080, noHook, "", 0, false},
			{"a node port at the pods' gateway", "gateway", 30080, noHook, "", 0, false},
			{"a host port", "node", hostPortGood, noHook, "", 0, false},
			{"a host port at the pods' gateway", "gateway", hostPortGood, noHook, "", 0, false},
			{"the node", "node", 8080, "NEW ALLOWED TO_NODE", "", 0, false},
			{"a pod by its own address", "good", 8080, allowed, "", 0, false},
		} {
			s.check(name+" "+c.name, f, "tcp", c)
		}
		s.check(name+" a host port by UDP", f, "udp", call{"", "node", hostPortGood, noHook, "", 0, false})
		if _, err := s.try(s.pods["free"].Namespace, "tcp", f["free"], f.at("svc-bad", 80), answerLimit); err != nil {
			t.Errorf("%s: a pod that is not isolated: %v", name, err)
		}
	}
}

// The agent dies and comes back: verdicts hold meanwhile, and no session ends.
func TestRestart(t *testing.T) {
	eachHook(t, "svr", func(t *testing.T, s *stage) {
		sessions := s.open()
		verdicts := func(when string) {
			t.Helper()
			for _, c := range sessions {
				if err := netns.Exchange(c.conn, "on and on", answerLimit); err != nil {
					t.Errorf("%s: %s: %v", when, c, err)
				}
			}
			for name, f := range families() {
				before := s.seen["bad"].Load()
				if _, err := s.try(s.pods["client"].Namespace, "tcp", f["client"], f.at("svc-bad", 80), silence); err == nil || s.seen["bad"].Load() != before {
					t.Errorf("%s: %s: a denied backend was reached", when, name)
				}
				if _, err := s.try(s.pods["client"].Namespace, "tcp", f["client"], f.at("svc-good", 80), answerLimit); err != nil {
					t.Errorf("%s: %s: %v", when, name, err)
				}
			}
		}
		verdicts("before")
		must(t, s.agent.Kill())
		verdicts("dead")
		must(t, s.agent.Start())
		must(t, s.agent.WaitReady(t.Context(), time.Minute))
		verdicts("again")
		if left, _ := filepath.Glob(s.agent.Pins + "/links/*-new"); len(left) > 0 {
			t.Errorf("links of a replacement are left: %v", left)
		}
	})
}

// Somebody takes the hook away: the agent puts it back within seconds.
func TestLostHook(t *testing.T) {
	take := map[string]func(s *stage) error{
		"netfilter": func(s *stage) error { return os.Remove(s.agent.Pins + "/links/forward-ipv4") },
		"xtables": func(s *stage) error {
			return s.node.Do(func() error { return pipe("", "nft", "delete", "table", "ip", "weir") })
		},
	}
	eachHook(t, "svl", func(t *testing.T, s *stage) {
		f := families()["IPv4"]
		denies := func() bool {
			_, err := s.try(s.pods["client"].Namespace, "tcp", f["client"], f.at("svc-bad", 80), silence)
			return err != nil
		}
		if !denies() {
			t.Fatal("not denied at first")
		}
		_, hook, _ := strings.Cut(t.Name(), "/")
		must(t, take[hook](s))
		if !await(2*time.Second, func() bool { return !denies() }) {
			t.Log("it was back before it was missed")
		}
		if !await(20*time.Second, denies) {
			t.Error("the hook was not put back")
		}
	})
}

// `weir explain` judges a Service by its backends.
func TestExplainBackends(t *testing.T) {
	s := newStage(t, build(t), setup{name: "svx", hook: "auto", dialect: nft, wiring: netns.Routed})
	for _, f := range families() {
		for _, row := range []struct{ service, backend, verdict string }{
			{"svc-good", "good", "ALLOWED, by shop/client egress rule 0"},
			{"svc-bad", "bad", "DENIED, no rule allows it"},
			{"svc-self", "client", "ALLOWED, the pod reaches itself"},
		} {
			out, err := s.agent.Weir("explain", "shop/client", f[row.service].String(), "--port", "80").CombinedOutput()
			want := fmt.Sprintf("egress of shop/client to backend shop/%s:8080 (%s): %s", row.backend, f[row.backend], row.verdict)
			if !strings.Contains(string(out), want) || strings.Contains(string(out), "DISAGREE") {
				t.Errorf("%s: %v\n%s\nwant %s", row.service, err, out, want)
			}
		}
	}
}
