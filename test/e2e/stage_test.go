// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const (
	callsEvery   = "-every=100ms"
	trafficLimit = 60 * time.Second // until all traffic that is allowed flows
	trafficAfter = 2 * time.Second  // goes on after an event, so that a late fault is seen
)

// stage of traffic on two nodes. A server on each is isolated; friends may
// reach it, strangers may not, and on each node one of both calls both servers
// without pause, over connections and datagrams that are new each time and, if
// a friend, over connections that last.
type stage struct {
	namespace                   *Namespace
	servers, friends, strangers []*Pod
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{namespace: cluster.Namespace(t)}
	n := s.namespace
	n.Policy("friends", `{podSelector: {matchLabels: {role: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	start := func(list *[]*Pod, role string, args ...string) {
		for i, node := range cluster.Nodes[:2] {
			*list = append(*list, n.StartTraffic(fmt.Sprintf("%s-%d", role, i), PodOptions{Node: node, Labels: map[string]string{"role": role}}, args...))
		}
	}
	start(&s.servers, "server")
	toFriend, toStranger := []string{callsEvery}, []string{callsEvery}
	for _, p := range s.servers {
		p.AwaitReady()
		toFriend = append(toFriend, p.Calls(traffic.Connect, traffic.Datagram, traffic.Stream)...)
		toStranger = append(toStranger, p.Calls(traffic.Connect, traffic.Datagram)...)
	}
	start(&s.friends, "friend", toFriend...)
	start(&s.strangers, "stranger", toStranger...)
	for _, p := range slices.Concat(s.friends, s.strangers) {
		p.AwaitReady()
	}
	return s
}

// flowing waits until every call of the friends is answered, and returns their
// totals from then.
func (s *stage) flowing(t *testing.T) map[string]traffic.Totals {
	t.Helper()
	before := s.read(t, s.friends, (*Pod).Totals)
	err := poll(t.Context(), trafficLimit, func(ctx context.Context) error {
		if !sleep(ctx, traffic.AnswerLimit) { // so that a call on its way has ended
			return nil
		}
		now := s.read(t, s.friends, (*Pod).Totals)
		defer func() { before = now }()
		return compareCalls(before, now)
	})
	if err != nil {
		t.Fatalf("before anything happened: %v", err)
	}
	return before
}

// compareCalls says what went wrong between two readings of the same pods.
func compareCalls(before, after map[string]traffic.Totals) error {
	var errs []error
	for pod, totals := range after {
		for i, c := range totals.Calls {
			old := before[pod].Calls[i]
			if c.Failed > old.Failed {
				errs = append(errs, fmt.Errorf("%s to %s: %d of %d calls failed: %q", pod, c.Target, c.Failed-old.Failed, c.Attempts-old.Attempts, c.Failures))
			}
			if c.Answered == old.Answered {
				errs = append(errs, fmt.Errorf("%s to %s: no call was answered", pod, c.Target))
			}
		}
	}
	return errors.Join(errs...)
}

// read all pods' totals, by pod.
func (s *stage) read(t *testing.T, pods []*Pod, how func(*Pod, context.Context) (traffic.Totals, error)) map[string]traffic.Totals {
	t.Helper()
	all := map[string]traffic.Totals{}
	for _, p := range pods {
		totals, err := how(p, t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all[p.Name] = totals
	}
	return all
}

// during an event no call of a friend fails and none of a stranger arrives, as
// both ends count.
func (s *stage) during(t *testing.T, event func() error) {
	t.Helper()
	before := s.flowing(t)
	began := time.Now()
	if err := event(); err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	sleep(t.Context(), trafficAfter)
	after := s.read(t, s.friends, (*Pod).Stop)
	if err := compareCalls(before, after); err != nil {
		t.Errorf("during the event, which began at %s: %v", began.UTC().Format("15:04:05.000"), err)
	}
	strangers := s.read(t, s.strangers, (*Pod).Stop)
	arrivals := s.read(t, s.servers, (*Pod).Totals)
	allowed, gap := sum(before, after)
	attempts, answered := int64(0), int64(0)
	for _, totals := range strangers {
		for _, c := range totals.Calls {
			attempts, answered = attempts+c.Attempts, answered+c.Answered
		}
	}
	arrived := s.arrived(arrivals)
	t.Logf("event %.1f s; allowed: %d calls answered, longest gap %s; denied: %d calls, %d arrived", took.Seconds(), allowed, gap.Round(time.Millisecond), attempts, arrived)
	switch {
	case attempts == 0:
		t.Error("the strangers made no call: the run proves nothing")
	case *without && arrived == 0:
		t.Error("without weir no call of a stranger arrived: the run proves nothing")
	case !*without && (answered > 0 || arrived > 0):
		t.Errorf("denied calls: %d arrived, %d were answered", arrived, answered)
	}
}

func sum(before, after map[string]traffic.Totals) (answered int64, gap time.Duration) {
	for pod, totals := range after {
		for i, c := range totals.Calls {
			answered += c.Answered - before[pod].Calls[i].Answered
			gap = max(gap, c.LongestGap)
		}
	}
	return answered, gap
}

// arrived calls of strangers, as the servers counted.
func (s *stage) arrived(servers map[string]traffic.Totals) int64 {
	var sources []netip.Addr
	for _, p := range s.strangers {
		sources = append(sources, p.Addresses...)
	}
	count := int64(0)
	for _, totals := range servers {
		for _, source := range sources {
			count += totals.Arrivals[source].Connections + totals.Arrivals[source].Datagrams
		}
	}
	return count
}

// sleep is for time that must pass, not for something to happen in it. False:
// the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
