// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// Policy holds from a pod's first packet, behind either plugin; and the
// packets of a pod that may send arrive, so the test can fail.
func TestFirstPacket(t *testing.T) {
	for _, row := range []struct{ name, first, chain string }{
		{"ptp", ptp, "ptp weir-cni"},
		{"br", bridge, "bridge weir-cni"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, row.name, row.first, "closed")
			var types []string
			for _, p := range s.list().Plugins {
				types = append(types, p.Network.Type)
			}
			if got := strings.Join(types, " "); got != row.chain {
				t.Fatalf("the agent is ready, and the chain is %q; want %q", got, row.chain)
			}
			echo, err := s.node.Outside.ServeEcho(9000)
			must(t, err)
			defer func() { must(t, echo.Close()) }()
			const packets = 100
			target := netip.AddrPortFrom(netns.OutsideAddr4, 9000)
			for _, pod := range []struct {
				name, app string
				passes    bool
			}{{"open", "open", true}, {"closed", "closed", false}, {"again", "closed", false}} {
				var taken atomic.Int64
				echo.Count(&taken)
				p := s.schedule(pod.name, pod.app)
				must(t, s.add(p))
				attempts := p.send(t, target, packets)
				if attempts == 0 || pod.passes != (taken.Load() > 0) {
					t.Errorf("pod %s: %d of %d packets arrived; passes should be %t", pod.name, taken.Load(), attempts, pod.passes)
				}
				t.Logf("%s, pod %s: %d of %d first packets arrived", row.name, pod.name, taken.Load(), attempts)
				must(t, s.check(p))
				must(t, s.del(p))
				if err := s.check(p); err == nil {
					t.Errorf("pod %s: CHECK passes after DEL", pod.name)
				}
			}
		})
	}
}

// What ADD of weir-cni adds to the start of a pod: the whole program, from its
// start to its end. The pod is announced again and again.
func TestCost(t *testing.T) {
	s := newStage(t, "cost", ptp, "closed")
	p := s.schedule("cost", "closed")
	must(t, s.add(p))
	defer func() { must(t, s.del(p)) }()
	list := s.list()
	own := list.Plugins[len(list.Plugins)-1]
	previous, err := s.runtime.GetNetworkListCachedResult(list, p.runtimeConf())
	must(t, err)
	const rounds = 300
	var took []time.Duration
	for range rounds {
		must(t, s.node.Do(func() error {
			begun := time.Now()
			err := s.run(own, list, previous, p)
			took = append(took, time.Since(begun))
			return err
		}))
	}
	slices.Sort(took)
	t.Logf("ADD of weir-cni, %d times: median %s, p99 %s, most %s", rounds, took[rounds/2-1], took[rounds*99/100-1], took[rounds-1])
	if median := took[rounds/2-1]; median > time.Second {
		t.Errorf("the median is %s: the plugin waits for something", median)
	}
}

// Without an agent a pod does not start, or starts, as it was asked for.
func TestWithoutAgent(t *testing.T) {
	for _, row := range []struct {
		failure string
		starts  bool
	}{{"closed", false}, {"open", true}} {
		t.Run(row.failure, func(t *testing.T) {
			s := newStage(t, row.failure, ptp, row.failure)
			must(t, s.agent.Kill())
			p := s.schedule("late", "closed")
			begun := time.Now()
			err := s.add(p)
			if took := time.Since(begun); (err == nil) != row.starts || took > 10*time.Second {
				t.Errorf("ADD: %v after %s; the pod starts should be %t", err, took, row.starts)
			}
			if err != nil && (!strings.Contains(err.Error(), "shop/late") || !strings.Contains(err.Error(), "not running")) {
				t.Errorf("the error names neither pod nor cause: %v", err)
			}
			must(t, s.del(p)) // never fails
			if !row.starts {
				must(t, s.agent.Start())
				must(t, s.add(p)) // waits for it
				must(t, s.del(p))
			}
		})
	}
}
