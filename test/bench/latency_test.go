// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	localPods     = 250
	localPolicies = 1000
	port          = 9000
)

// BenchmarkPolicyChange takes the time from the rename(2) of a policy's file to
// the first packet under the new verdict, as its receiver sees it: 250 local
// pods, 1,000 policies that select all of them.
func BenchmarkPolicyChange(b *testing.B) {
	node.RequireKernel(b)
	s := newStage(b)
	var took, applied []time.Duration
	for b.Loop() {
		took = append(took, s.open(b))
		applied = append(applied, s.lastApply(b))
		s.shut(b)
	}
	b.ReportMetric(quantile(took, 0.5), "p50-ms")
	b.ReportMetric(quantile(took, 0.99), "p99-ms")
	b.ReportMetric(quantile(applied, 0.5), "apply-p50-ms")
	b.ReportMetric(0, "ns/op")
}

// quantile of durations, in milliseconds.
func quantile(list []time.Duration, q float64) float64 {
	slices.Sort(list)
	return float64(list[min(len(list)-1, int(q*float64(len(list))))].Microseconds()) / 1000
}

// lastApply is the part of it that the agent spent on bringing the change into
// the maps, by its own account.
func (s *stage) lastApply(b *testing.B) time.Duration {
	out, err := s.agent.Weir("status", "-o", "json").Output()
	must(b, err)
	var status struct {
		LastApply string `json:"last_apply"`
	}
	must(b, json.Unmarshal(out, &status))
	d, err := time.ParseDuration(status.LastApply)
	must(b, err)
	return d
}

// stage is a node with many pods; sender sends to receiver without a pause.
type stage struct {
	agent    *node.Agent
	to       netip.AddrPort
	arrivals chan time.Time
	sender   net.Conn
}

// gate is the policy that opens or shuts the way to every pod.
func gate(open bool) string {
	from := "192.0.2.1/32"
	if open {
		from = "10.244.0.0/16"
	}
	return policy("gate", from)
}

func policy(name, cidr string) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: %s}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: %s}}]
    ports: [{protocol: UDP, port: %d}]
---
`, name, cidr, port)
}

func newStage(b *testing.B) *stage {
	bin := node.Build(b, "../../cmd/weir", "../../cmd/weir-agent")
	n, err := netns.NewNode("lat", netns.Options{PodPrefix4: netip.MustParsePrefix("10.244.0.0/16")})
	must(b, err)
	b.Cleanup(func() { must(b, n.Close()) })
	var pods []node.Pod
	for i := range localPods {
		pod := node.Pod{Namespace: "shop", Name: fmt.Sprintf("p%d", i), Labels: fmt.Sprintf("app: a%d", i),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(1 + i/200), byte(10 + i%200)})}}
		_, err := n.AddPod(pod.Name, pod.Addrs...)
		must(b, err)
		pods = append(pods, pod)
	}
	s := &stage{to: netip.AddrPortFrom(pods[1].Addrs[0], port), arrivals: make(chan time.Time, 1)}
	s.agent, err = node.NewAgent(bin, filepath.Join(b.TempDir(), "weir-bench"), "node-a", n)
	must(b, err)
	b.Cleanup(func() { must(b, s.agent.Close()) })
	var others strings.Builder
	for i := range localPolicies - 1 {
		others.WriteString(policy(fmt.Sprintf("other-%d", i), fmt.Sprintf("172.16.%d.%d/32", i/250, i%250)))
	}
	must(b, s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, pods)))
	must(b, s.agent.Replace("manifests/others.yaml", others.String()))
	must(b, s.agent.Replace("manifests/gate.yaml", gate(false)))
	must(b, s.agent.Start())
	must(b, s.agent.WaitReady(b.Context(), 2*time.Minute))
	s.receive(b, n.Pods[1])
	s.sender, err = n.Pods[0].Dial("udp", s.to, time.Second)
	must(b, err)
	b.Cleanup(func() { s.sender.Close() })
	return s
}

// receive tells of the first arrival after each time it was asked.
func (s *stage) receive(b *testing.B, pod *netns.Pod) {
	var conn net.PacketConn
	must(b, pod.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", s.to.String())
		return err
	}))
	b.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, _, err := conn.ReadFrom(buffer); err != nil {
				return
			}
			select {
			case s.arrivals <- time.Now():
			default:
			}
		}
	}()
}

const patience = 10 * time.Second

// open renames the policy that opens the way, and sends until a packet arrives.
func (s *stage) open(b *testing.B) time.Duration {
	begun := time.Now()
	must(b, s.agent.Replace("manifests/gate.yaml", gate(true)))
	for time.Since(begun) < patience {
		_, err := s.sender.Write([]byte("x"))
		must(b, err)
		select {
		case at := <-s.arrivals:
			return at.Sub(begun)
		case <-time.After(100 * time.Microsecond):
		}
	}
	b.Fatal("the policy did not open the way")
	return 0
}

// shut takes it back, and waits until nothing arrives any more.
func (s *stage) shut(b *testing.B) {
	must(b, s.agent.Replace("manifests/gate.yaml", gate(false)))
	quiet := time.Now()
	for begun := quiet; time.Since(begun) < patience; {
		_, err := s.sender.Write([]byte("x"))
		must(b, err)
		select {
		case <-s.arrivals:
			quiet = time.Now()
		case <-time.After(time.Millisecond):
		}
		if time.Since(quiet) > 50*time.Millisecond {
			return
		}
	}
	b.Fatal("the policy did not shut the way")
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
