// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// Pods of a burst have these host numbers and more.
const firstOfBurst = 40

// burstPods is how many pods a burst has: WEIR_LIFECYCLE_PODS, or 60.
func burstPods(t *testing.T) int {
	text := os.Getenv("WEIR_LIFECYCLE_PODS")
	if text == "" {
		return 60
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 || n > 200 {
		t.Fatalf("WEIR_LIFECYCLE_PODS is %q; give a number from 2 to 200", text)
	}
	return n
}

// Many pods come at once and go at once, twice; in the second wave each address
// belongs to the other kind of pod. No stranger ever reaches the server, no
// client is refused, and nothing stays behind.
func TestBurst(t *testing.T) {
	s := newStage(t, "lcb")
	pods := burstPods(t)
	before := s.settled()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var always traffic
	always.keep(ctx, s.client, s.server, true)
	always.keep(ctx, s.stranger, s.server, false)
	for wave := range 2 {
		s.wave(t, wave, pods)
	}
	stop()
	always.wait.Wait()
	always.report(t, "those of all along")
	if always.passed.Load() < 20 || always.refused.Load() < 20 {
		t.Error("too little traffic to prove anything")
	}
	s.same(before)
}

// wave brings the pods up in batches and takes them down again.
func (s *stage) wave(t *testing.T, wave, pods int) {
	t.Helper()
	began := time.Now()
	type member struct {
		name   string
		pod    *netns.Pod
		client bool
	}
	var members []member
	var own traffic
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for batch := range slices.Chunk(numbers(pods), 10) {
		var descriptions []node.Pod
		for _, n := range batch {
			m := member{name: fmt.Sprintf("w%dn%d", wave, n), client: (n+wave)%2 == 0}
			app := map[bool]string{true: "client", false: "stranger"}[m.client]
			descriptions = append(descriptions, describe(m.name, app, byte(firstOfBurst+n)))
			if n%4 < 2 { // half of the veths come after their objects
				m.pod = s.wire(m.name, byte(firstOfBurst+n))
			}
			members = append(members, m)
		}
		s.declare(descriptions...)
		for i := range members {
			m := &members[i]
			if m.pod == nil {
				m.pod = s.wire(m.name, byte(firstOfBurst+i))
			}
			if i >= batch[0] && !m.client { // at every instant, also before it is bound
				own.keep(ctx, m.pod, s.server, false)
			}
		}
	}
	s.await("all pods are enforced", func() bool { return s.enforcedOf(wave) == pods })
	up := time.Since(began)
	for _, m := range members {
		if m.client {
			own.keep(ctx, m.pod, s.server, true)
		}
	}
	s.await("every client has been served", func() bool { return own.passed.Load() >= int64(pods) })
	stop()
	own.wait.Wait()
	own.report(t, fmt.Sprintf("wave %d", wave))
	began = time.Now()
	var names []string
	for _, m := range members {
		must(t, s.node.RemovePod(m.pod))
		names = append(names, m.name)
		if len(names)%10 == 0 || len(names) == pods {
			s.withdraw(names...)
		}
	}
	t.Logf("wave %d: %d pods up in %s, down in %s; %d connections passed, %d were refused",
		wave, pods, up.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), own.passed.Load(), own.refused.Load())
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// enforcedOf counts the pods of a wave that are in force.
func (s *stage) enforcedOf(wave int) int {
	s.t.Helper()
	list, err := s.Endpoints()
	must(s.t, err)
	n := 0
	for _, e := range list {
		if e.GetState() == "enforced" && e.GetPod()[:2] == fmt.Sprintf("w%d", wave) {
			n++
		}
	}
	return n
}

// traffic counts how connections ended.
type traffic struct {
	passed, refused, wronglyPassed, wronglyRefused atomic.Int64
	wait                                           sync.WaitGroup
	once                                           sync.Once
	first                                          error // of what was wrongly refused
}

// keep connects again and again until ctx ends; allowed says how each must end.
func (t *traffic) keep(ctx context.Context, from, to *netns.Pod, allowed bool) {
	t.wait.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			target := netip.AddrPortFrom(to.Addrs[n%len(to.Addrs)], 8080)
			t.attempt(from, target, allowed)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (t *traffic) attempt(from *netns.Pod, to netip.AddrPort, allowed bool) {
	patience := silence
	if allowed {
		patience = limit
	}
	err := from.Try("tcp", to, patience)
	switch {
	case allowed && err == nil:
		t.passed.Add(1)
	case allowed:
		t.wronglyRefused.Add(1)
		t.once.Do(func() { t.first = err })
	case err == nil:
		t.wronglyPassed.Add(1)
	default:
		t.refused.Add(1)
	}
}

func (t *traffic) report(test *testing.T, who string) {
	test.Helper()
	if n := t.wronglyRefused.Load(); n > 0 {
		test.Errorf("%s: %d connections were wrongly refused, the first: %v", who, n, t.first)
	}
	if n := t.wronglyPassed.Load(); n > 0 {
		test.Errorf("%s: %d connections wrongly passed", who, n)
	}
}
