// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// accounted checks what a flood leaves: each packet called for one event, which
// was emitted or is counted by why not, and the reader was told each that was
// emitted but for those that it is told to have missed.
func (s *stage) accounted(r *reader, name string, before ring, sent uint64) ring {
	s.t.Helper()
	verdict := passed
	if name == "denied" {
		verdict = barred
	}
	var now ring
	s.until("each "+name+" event is told or counted", func(context.Context) (err error) {
		if now, err = s.ring(name); err != nil {
			return err
		}
		now = now.less(before)
		if now.called() != sent {
			return fmt.Errorf("%d packets of new flows, %d events: %s", sent, now.called(), now)
		}
		return r.accounts(verdict, now.emitted, now.emitted+now.probes(before))
	})
	return now
}

// TestLossIsTold floods an agent that stands still, so that the rings run full,
// and then one that works, so that the limits of endpoints hold events back.
func TestLossIsTold(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	senders := s.crowd(crowdSize)
	s.view.StopFlows()
	reader := s.subscribe()
	defer s.close(reader)
	for _, row := range []struct {
		ring    string
		to      netip.Prefix
		packets int
		total   string // of all packets
	}{
		{"allowed", passing, 300_000, `weir_packets_total{direction="egress",reason="rule"}`},
		{"denied", barring, 100_000, `weir_packets_total{direction="egress",reason="no-rule"}`},
	} {
		before := s.mustRing(row.ring)
		packets, err := s.view.Metric(row.total)
		s.must(err)
		s.must(s.halted(func() error { return times(row.packets, senders, row.to) }))
		s.must(times(row.packets/4, senders[:1], row.to))
		now := s.accounted(reader, row.ring, before, uint64(row.packets+row.packets/4))
		if all, err := s.view.Metric(row.total); err != nil || uint64(all-packets) != now.called() {
			t.Errorf("%s: %.0f of %d, %v", row.total, all-packets, now.called(), err)
		}
		if now.limited == 0 || now.lost+now.limited < now.emitted {
			t.Errorf("no flood: %s", now)
		}
		if row.ring == "allowed" && (now.lost == 0 || now.thinned == 0) {
			t.Errorf("the ring did not run full: %s", now)
		}
		figure(t, "loss told of a flood of "+row.ring+" flows at an agent that stands still", "%d packets = %s", now.called(), now)
		s.until("the loss is told with the flows", func(context.Context) error {
			if lost, limited := reader.untold(); lost < now.lost || limited < now.limited {
				return fmt.Errorf("%d of %d lost, %d of %d limited", lost, now.lost, limited, now.limited)
			}
			return nil
		})
	}
}

// halted stops the agent for as long as f runs.
func (s *stage) halted(f func() error) error {
	if err := syscall.Kill(s.agent.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(f(), syscall.Kill(s.agent.PID(), syscall.SIGCONT))
}

// TestFloodOfDenials: one endpoint is called from outside as fast as the machine
// can, each packet another flow that is denied. The agent hardly notices, and
// what other pods do meanwhile is told as if nothing was.
func TestFloodOfDenials(t *testing.T) {
	node.RequireKernel(t)
	s := newStage(t)
	others := s.crowd(4)
	s.view.StopFlows()
	reader := s.subscribe()
	defer s.close(reader)
	outside := s.outside()
	denials := s.mustRing("denied")
	counted, err := s.view.Denied("web", "ingress", "no-rule")
	s.must(err)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var flooders errgroup.Group
	var flooded atomic.Uint64
	for _, o := range outside {
		flooders.Go(func() error {
			n, err := flood(ctx, []*sender{o}, wanderers)
			flooded.Add(uint64(n))
			return err
		})
	}
	begin, before := time.Now(), s.cpu()
	<-time.After(lasting(3*time.Second, 30*time.Second))
	window, used := time.Since(begin), s.cpu().less(before)
	const allowedRate, deniedRate = 1600, 400 // of all four
	seconds := int(lasting(3*time.Second, 30*time.Second).Seconds())
	err = paced(others, passing, allowedRate, seconds*allowedRate)
	err = errors.Join(err, paced(others, barring, deniedRate, seconds*deniedRate))
	whole := time.Since(begin)
	cancel()
	s.must(errors.Join(err, flooders.Wait()))
	packets := flooded.Load()
	s.until("each packet of the flood is counted", func(context.Context) error {
		n, err := s.view.Denied("web", "ingress", "no-rule")
		if err == nil && uint64(n-counted) != packets {
			err = fmt.Errorf("%.0f of %d", n-counted, packets)
		}
		return err
	})
	s.until("the others' events", func(context.Context) error {
		for _, o := range others {
			if n, want := reader.of(o.name, passed), uint64(seconds*allowedRate/len(others)); n != want {
				return fmt.Errorf("%s: %d of %d allowed flows", o.name, n, want)
			}
			if n, want := reader.of(o.name, barred), uint64(seconds*deniedRate/len(others)); n != want {
				return fmt.Errorf("%s: %d of %d denied flows", o.name, n, want)
			}
		}
		return nil
	})
	now := s.accounted(reader, "denied", denials, packets+uint64(seconds*deniedRate))
	figure(t, fmt.Sprintf("agent at %.0f denied packets/s at one endpoint, %d threads", float64(packets)/whole.Seconds(), len(outside)),
		"%s over %.0f s", used.of(window), window.Seconds())
	figure(t, "other endpoints' events during it", "%d of %d allowed, %d of %d denied flows told; flood: %d packets counted, %s",
		reader.total(passed), seconds*allowedRate, reader.total(barred)-reader.of("web", barred), seconds*deniedRate, packets, now)
	// The aim is under 5 %. A test on a machine that others use fails at thrice that.
	if share := (used.user + used.system).Seconds() / window.Seconds(); share > 0.15 {
		t.Errorf("the flood cost %.1f %% of a core in the agent", 100*share)
	}
}

// wanderers are who calls from outside. The node has no way back to them, nor
// has it asked for one: it would drop what comes from where a route drops all.
var wanderers = netip.MustParsePrefix("10.99.0.0/16")

// outside makes a sender for each core that calls the pod web from outside.
func (s *stage) outside() []*sender {
	s.t.Helper()
	// The node asks for the pod's address once, before it counts.
	s.must(s.frontend.Try("tcp", netip.AddrPortFrom(s.web.Addrs[0], 8080), answer))
	uplink, err := s.node.Link.LinkByName("uplink")
	s.must(err)
	var senders []*sender
	for i := range min(8, runtime.NumCPU()) {
		tap, err := s.node.Outside.Tap("eth0")
		s.must(err)
		s.cleanup(tap.Close)
		o := newSender("outside", tap, uplink.Attrs().HardwareAddr, netns.OutsideAddr4)
		o.at = s.web.Addrs[0]
		o.flows = uint32(i) << 28 // flows of its own
		senders = append(senders, o)
	}
	return senders
}
