// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/test/node"
)

const (
	// crowdSize: each pod may tell 2,000 new flows a second, 4,000 at once.
	crowdSize = 32
	// behind is how late the last flow of a rate may come that counts as
	// sustained: readers collect for 50 ms, rings are looked into every 100.
	behind = 500 * time.Millisecond
)

// TestEvents: how many events a second come from the programs to subscribers
// without loss, and what it costs the agent. Senders and subscribers, which
// decode what they are told, share the machine with it. Whatever the rate, an
// event is told, or counted as one that is not.
func TestEvents(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	senders := s.crowd(crowdSize)
	s.view.StopFlows()
	for _, subscribers := range []int{1, 8} {
		s.sustained(senders, subscribers)
	}
}

// sustained raises the rate until something is lost.
func (s *stage) sustained(senders []*sender, subscribers int) {
	readers := make([]*reader, subscribers)
	for i := range readers {
		readers[i] = s.subscribe()
	}
	defer s.close(readers...)
	what := fmt.Sprintf("events/s to %d subscriber(s) without loss", subscribers)
	first, held, sent := s.mustRing("allowed"), 0, uint64(0)
	for _, rate := range rates() {
		begin, before, counted := time.Now(), s.cpu(), s.mustRing("allowed")
		flows := int(lasting(time.Second, 10*time.Second).Seconds() * float64(rate))
		s.must(paced(senders, passing, rate, flows))
		sent += uint64(flows)
		window := time.Since(begin)
		if err := s.allTold(readers, sent); err != nil {
			s.t.Logf("%d events/s to %d subscribers for %.1f s: %v; %s", rate, subscribers, window.Seconds(), err, s.mustRing("allowed").less(counted))
			break
		}
		held = rate
		figure(s.t, what, "%.0f for %.1f s; %s", float64(flows)/window.Seconds(), window.Seconds(), s.cpu().less(before).of(time.Since(begin)))
	}
	if held == 0 {
		s.t.Errorf("%s: not even the lowest rate", what)
	}
	for _, r := range readers {
		s.accounted(r, "allowed", first, sent)
	}
}

// rates that are tried, one after the other.
func rates() []int {
	if *long {
		return []int{1000, 5000, 10000, 15000, 20000, 30000, 40000, 50000, 60000}
	}
	return []int{1000, 5000, 10000, 20000, 40000, 60000}
}

// allTold waits until each reader has so many.
func (s *stage) allTold(readers []*reader, want uint64) error {
	return s.within(behind, func(context.Context) error {
		for _, r := range readers {
			if err := r.has(passed, want); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestCost: what new flows cost the agent, by how many there are. One
// subscriber is told of them.
func TestCost(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	senders := s.crowd(crowdSize)
	s.view.StopFlows()
	reader := s.subscribe()
	defer s.close(reader)
	counted := s.mustRing("allowed")
	sent := 0
	for _, rate := range []int{1000, 10000} {
		// With -long from when flows end as fast as they begin, 35 s after.
		warm := int(lasting(100*time.Millisecond, 45*time.Second).Seconds() * float64(rate))
		s.must(paced(senders, passing, rate, warm))
		begin, before := time.Now(), s.cpu()
		flows := int(lasting(3*time.Second, time.Minute).Seconds() * float64(rate))
		s.must(paced(senders, passing, rate, flows))
		window := time.Since(begin)
		figure(t, fmt.Sprintf("agent at %d new flows/s, 1 subscriber", rate), "%s over %.0f s", s.cpu().less(before).of(window), window.Seconds())
		sent += warm + flows
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasting(3*time.Second, time.Minute))
	defer cancel()
	begin, before, earlier := time.Now(), s.cpu(), s.mustRing("allowed")
	flows, err := flood(ctx, senders, passing)
	s.must(err)
	window, used := time.Since(begin), s.cpu().less(before)
	now := s.mustRing("allowed").less(earlier)
	figure(t, fmt.Sprintf("agent at %.0f new flows/s, as many as one thread makes", float64(flows)/window.Seconds()),
		"%s over %.0f s, %.0f told a second", used.of(window), window.Seconds(), float64(now.emitted)/window.Seconds())
	s.accounted(reader, "allowed", counted, uint64(sent+flows))
}
