// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// Denials are counted packet by packet, however few of them are told as events;
// summaries and statistics agree with what was sent.
func TestCounts(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t, "--rule-metrics")
	const packets, connections = 300, 4
	conn, err := s.stranger.Dial("udp", netip.AddrPortFrom(s.web.Addrs[0], 9), answer)
	s.must(err)
	defer conn.Close()
	for range packets {
		_, err := conn.Write([]byte("nobody listens"))
		s.must(err)
	}
	for range connections {
		s.must(s.frontend.Try("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer))
	}
	s.until("dropped packets", func(context.Context) error {
		n, err := s.view.Denied("web", "ingress", "no-rule")
		if err == nil && n != packets {
			err = fmt.Errorf("%v of %d", n, packets)
		}
		return err
	})
	figure(t, "drop counters against the packets sent", "%d of %d", packets, packets)
	s.until("statistics of rules", func(ctx context.Context) error { return s.rules(ctx, connections) })
	s.until("summary of denials", func(ctx context.Context) error { return s.denials(ctx, packets) })
}

// What TCP sends in packets of many segments is counted in segments.
func TestCountsOfSegments(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	conn, err := s.frontend.Dial("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer)
	s.must(err)
	defer conn.Close()
	s.must(netns.Exchange(conn, "weir", answer))
	generation, err := s.agent.Generation()
	s.must(err)
	s.must(s.agent.Replace("manifests/policy.yaml", `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: nobody}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
`))
	s.until("the policy that cuts the connection", func(context.Context) error {
		now, err := s.agent.Generation()
		if err == nil && now == generation {
			err = errNotYet
		}
		return err
	})
	before, err := s.frontend.TCPSegmentsSent()
	s.must(err)
	tap, err := s.node.Tap(s.frontend.Ifname)
	s.must(err)
	defer tap.Close()
	_, err = conn.Write(make([]byte, 60_000))
	s.must(err)
	s.until("each segment is counted", func(context.Context) error {
		samples, err := s.view.Samples("weir_dropped_packets_total")
		if err != nil {
			return err
		}
		var dropped uint64
		for _, n := range samples {
			dropped += uint64(n)
		}
		sent, err := s.frontend.TCPSegmentsSent()
		if err == nil && (sent == before || dropped != sent-before) {
			err = fmt.Errorf("%d of %d", dropped, sent-before)
		}
		return err
	})
	largest := 0
	s.must(tap.Drain(func(_ []byte, length int) { largest = max(largest, length) }))
	if largest < 2*1500 {
		t.Errorf("the largest packet had %d bytes: none had more than one segment", largest)
	}
}

// In audit mode the same is counted as what would have been denied.
func TestAuditedCounts(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t, "--mode=audit")
	const packets, size = 200, 20 + 8 + len("nobody listens")
	conn, err := s.stranger.Dial("udp", netip.AddrPortFrom(s.web.Addrs[0], 9), answer)
	s.must(err)
	defer conn.Close()
	for sent := 0; sent < packets; {
		_, err := conn.Write([]byte("nobody listens"))
		if errors.Is(err, unix.ECONNREFUSED) {
			continue // nothing was sent: it tells that an earlier packet arrived
		}
		s.must(err)
		sent++
	}
	s.until("audited packets", func(context.Context) error {
		samples, err := s.view.Samples("weir_dropped_")
		const labels = `_total{direction="ingress",namespace="shop",pod="web",reason="no-rule",verdict="audited"}`
		if n, b := samples["weir_dropped_packets"+labels], samples["weir_dropped_bytes"+labels]; err == nil && (n != packets || b != float64(packets*size)) {
			err = fmt.Errorf("%v packets of %d, %v bytes of %d", n, packets, b, packets*size)
		}
		return err
	})
}

// rules: each connection is one flow of ingress rule 0.
func (s *stage) rules(ctx context.Context, connections uint64) error {
	stats, err := s.client.Policies.Stats(ctx, &weirv1.StatsRequest{Namespace: "shop", Name: "allow-web"})
	if err != nil {
		return err
	}
	if !stats.GetEnabled() || len(stats.GetPolicies()) != 1 || len(stats.GetPolicies()[0].GetRules()) != 1 {
		return fmt.Errorf("%v", stats)
	}
	rule := stats.GetPolicies()[0].GetRules()[0]
	// A connection with one exchange is 8 packets and more, 4 of them with 4 bytes or none beyond 40 of headers.
	if rule.GetFlows() != connections || rule.GetPackets() < connections*8 || rule.GetBytes() < rule.GetPackets()*40 || stats.GetPolicies()[0].GetDenials() == 0 {
		return fmt.Errorf("%v", stats)
	}
	return nil
}

// denials: what events told of is some, and never more than was sent.
func (s *stage) denials(ctx context.Context, packets uint64) error {
	sum, err := s.client.Flows.Summarize(ctx, &weirv1.SummarizeRequest{
		By: []weirv1.SummaryKey{
			weirv1.SummaryKey_SUMMARY_KEY_SOURCE, weirv1.SummaryKey_SUMMARY_KEY_DESTINATION,
			weirv1.SummaryKey_SUMMARY_KEY_PORT, weirv1.SummaryKey_SUMMARY_KEY_POLICY,
		},
		Filter: &weirv1.FlowFilter{Verdicts: []weirv1.Verdict{weirv1.Verdict_VERDICT_DENIED}, Protocols: []uint32{17}},
	})
	if err != nil {
		return err
	}
	if len(sum.GetGroups()) != 1 {
		return fmt.Errorf("%v", sum)
	}
	g := sum.GetGroups()[0]
	if g.GetSource().GetName() != "stranger" || g.GetDestination().GetName() != "web" || g.GetPort() != 9 ||
		len(g.GetPolicies()) != 1 || g.GetPolicies()[0].GetName() != "allow-web" || g.GetNearestMiss().GetWhy() == "" {
		return fmt.Errorf("%v", g)
	}
	if n := g.GetCounts().GetDenials(); n == 0 || n > packets || g.GetCounts().GetFlows() != 0 {
		return fmt.Errorf("%d denials told of %d", n, packets)
	}
	return nil
}
