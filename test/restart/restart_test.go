// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// policies under which frontend may reach web on 8080 and nobody else may;
// noise differs from apply to apply and changes no verdict of the test.
func policies(noise int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: allow-web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: frontend}}}]
    ports: [{port: 8080}, {port: %d}]
---
`, 20000+noise)
	for i := range 20 {
		fmt.Fprintf(&b, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: noise-%[1]d}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 172.16.%[2]d.0/24}}]
    ports: [{port: %[3]d}]
---
`, i, (noise+i)%250, 30000+noise)
	}
	return b.String()
}

// The agent is killed at ten random points of an apply and started again,
// while streams and 200 new connections a second of each kind flow. Not one
// verdict may be wrong, counted at both ends.
func TestKilledUnderTraffic(t *testing.T) {
	node.RequireKernel(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStage(t)
	s.underTraffic(t, 10, func(i int) {
		must(t, s.agent.Replace("manifests/policies.yaml", policies(i+1)))
		time.Sleep(time.Duration(random.Int64N(int64(12 * time.Millisecond)))) // the random point
		must(t, s.agent.Kill())
		must(t, s.agent.Start())
		must(t, s.agent.WaitReady(t.Context(), time.Minute))
	})
}

// The agent is told to end, as by an update of its DaemonSet, and started again
// a few times over, under the same traffic.
func TestStoppedUnderTraffic(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	s.underTraffic(t, 6, func(i int) {
		must(t, s.agent.Replace("manifests/policies.yaml", policies(i+1)))
		must(t, s.agent.Stop())
		must(t, s.agent.Start())
		must(t, s.agent.WaitReady(t.Context(), time.Minute))
	})
}

// underTraffic does something to the agent a number of times, and fails the
// test for each verdict that was wrong meanwhile.
func (s *stage) underTraffic(t *testing.T, times int, do func(i int)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var flow traffic
	for _, addr := range s.web.Addrs {
		to := netip.AddrPortFrom(addr, 8080)
		conn, err := s.frontend.Dial("tcp", to, answerLimit)
		must(t, err)
		flow.stream(ctx, conn)
		flow.connect(ctx, s.frontend.Namespace, to, 100, true)
		flow.connect(ctx, s.stranger.Namespace, to, 100, false)
	}
	for i := range times {
		do(i)
	}
	stop()
	flow.wait.Wait()
	t.Logf("%d times; %d new connections and %d exchanges allowed, %d attempts denied",
		times, flow.opened.Load(), flow.streamed.Load(), flow.refused.Load())
	if n := flow.wronglyDropped.Load() + flow.streamCuts.Load(); n > 0 {
		t.Errorf("wrongly dropped: %d (%d of them streams): %v", n, flow.streamCuts.Load(), flow.first)
		out, err := s.agent.Weir("observe", "--last=5000", "--verdict=denied", "--pod=shop/frontend").CombinedOutput()
		t.Logf("denials of frontend that the last agent knows of (%v):\n%s", err, out)
	}
	s.checkCounters(t)
	if n := flow.wronglyPassed.Load() + s.arrived.Load(); n > 0 {
		t.Errorf("wrongly passed: %d seen by the sender, %d by the receiver", flow.wronglyPassed.Load(), s.arrived.Load())
	}
	least := int64(times * 20)
	if flow.opened.Load() < least || flow.refused.Load() < least || flow.streamed.Load() < least {
		t.Error("too little traffic to prove anything")
	}
}

// checkCounters: each SYN of the stranger was dropped at web, and nothing else
// anywhere. A SYN of frontend that was dropped once would be sent again, and
// neither end would tell.
func (s *stage) checkCounters(t *testing.T) {
	t.Helper()
	view, err := node.NewView(t.Context(), s.agent)
	must(t, err)
	defer view.Close()
	samples, err := view.Samples("weir_dropped_packets_total{")
	must(t, err)
	var web, answers, others float64
	for name, value := range samples {
		switch {
		case strings.Contains(name, `pod="web"`):
			web += value
		case strings.Contains(name, `direction="ingress"`) && strings.Contains(name, `pod="frontend",reason="no-rule"`):
			answers += value
		default:
			others += value
		}
	}
	sent, err := s.stranger.TCPSegmentsSent()
	must(t, err)
	if s.answersRepeat {
		t.Logf("answers that were dropped once: %.0f", answers)
	} else {
		others += answers
	}
	if uint64(web) != sent || others > 0 {
		t.Errorf("at web %.0f packets were dropped and elsewhere %.0f, the stranger sent %d: %v", web, others, sent, samples)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stage is a node with an agent, a server and two clients.
type stage struct {
	agent                   *node.Agent
	web, frontend, stranger *netns.Pod
	arrived                 atomic.Int64 // connections from the stranger that web accepted
	// answersRepeat: the answer to a flow that began while programs of two
	// layouts changed places may be dropped once, and is sent again (README).
	answersRepeat bool
}

func newStage(t *testing.T) *stage {
	return newStageOf(t, node.Build(t, "../../cmd/weir", "../../cmd/weir-agent"))
}

// newStageOf is newStage with the agent in a folder.
func newStageOf(t *testing.T, bin string) *stage {
	n, err := netns.NewNode("rst", netns.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &stage{}
	pods := []node.Pod{
		{Namespace: "shop", Name: "web", Labels: "app: web", Addrs: node.Dual(10)},
		{Namespace: "shop", Name: "frontend", Labels: "app: frontend", Addrs: node.Dual(11)},
		{Namespace: "shop", Name: "stranger", Labels: "app: stranger", Addrs: node.Dual(12)},
	}
	for i, to := range []**netns.Pod{&s.web, &s.frontend, &s.stranger} {
		if *to, err = n.AddPod(pods[i].Name, pods[i].Addrs...); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(t)
	if s.agent, err = node.NewAgent(bin, filepath.Join(t.TempDir(), "weir-restart"), "node-a", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.agent.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, pods)); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.Replace("manifests/policies.yaml", policies(0)); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.WaitReady(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve echoes on web, and counts who should not have come.
func (s *stage) serve(t *testing.T) {
	var l net.Listener
	err := s.web.Do(func() (err error) { l, err = net.Listen("tcp", ":8080"); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			for _, a := range s.stranger.Addrs {
				if a == from {
					s.arrived.Add(1)
				}
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 64)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}
