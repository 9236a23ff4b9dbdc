// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: taken from the clock")

// dice makes random clusters from few values, so that they meet often.
type dice struct{ *rand.Rand }

func newDice(t *testing.T) dice {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	return dice{rand.New(rand.NewPCG(seed, 0))}
}

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

func (d dice) cluster() *Cluster {
	c := &Cluster{Namespaces: map[string]Namespace{
		"a": {Name: "a", Labels: labels(pick(d, "", "t=1", "t=2"))},
		"b": {Name: "b", Labels: labels(pick(d, "", "t=1", "t=2"))},
	}}
	for i := range 2 + d.IntN(5) {
		name := fmt.Sprintf("%s/pod%d", pick(d, "a", "b", "c"), i)
		p := pod(name, pick(d, "", "x=1", "x=2", "x=1,y=1"), d.addr(), pick(d, "", "n=80/TCP", "n=81/TCP,n=80/TCP", "n=80/UDP"))
		p.Terminal, p.HostNetwork = d.IntN(8) == 0, d.IntN(8) == 0
		c.Pods = append(c.Pods, p)
	}
	for i := range d.IntN(5) {
		c.Policies = append(c.Policies, d.policy(i))
	}
	return c
}

func (d dice) addr() string {
	return pick(d, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "fd00::1", "fd00::2", "fe80::1", "8.8.8.8")
}

func (d dice) policy(i int) *Policy {
	p := &Policy{
		ObjectKey: ObjectKey{Namespace: pick(d, "a", "b", "c"), Name: fmt.Sprintf("p%d", i)},
		Subjects:  *sel(pick(d, "", "", "x=1", "x", "!x")),
		Isolates:  [2]bool{d.IntN(3) > 0, d.IntN(3) > 0},
	}
	for _, dir := range Directions {
		for range d.IntN(4) {
			if p.Isolates[dir] {
				p.Rules[dir] = append(p.Rules[dir], d.rule())
			}
		}
	}
	return p
}

func (d dice) rule() Rule {
	var peers []Peer
	for range d.IntN(3) {
		peers = append(peers, d.peer())
	}
	r := to(pick(d, "", "80/TCP", "80-81/TCP,53/UDP", "n/TCP", "n/UDP,80/SCTP", "*/TCP"), peers...)
	if d.IntN(10) == 0 {
		r.AnyPeer = false
	}
	return r
}

func (d dice) peer() Peer {
	return pick(d,
		pods(pick(d, "", "x=1", "x", "!y")),
		spaces(pick(d, "", "t=1", "t notin 1")),
		podsIn(pick(d, "", "t=2"), pick(d, "x notin 1", "y")),
		block("10.0.0.0/24", "10.0.0.2/31"),
		block(pick(d, "0.0.0.0/0", "::/0", "fe80::/10", "10.0.0.2/32")),
		Peer{},
	)
}

func (d dice) flow(c *Cluster) Flow {
	return Flow{
		Direction: pick(d, Ingress, Egress),
		Subject:   pick(d, c.Pods...),
		Peer:      netip.MustParseAddr(d.addr()),
		Protocol:  pick(d, TCP, TCP, UDP, SCTP, ICMP),
		Port:      pick[uint16](d, 0, 53, 80, 81, 65535),
		OwnNode:   d.IntN(20) == 0,
	}
}

// each calls check with random clusters and flows until it fails.
func each(t *testing.T, check func(d dice, c *Cluster, f Flow) string) {
	d := newDice(t)
	for range 3000 {
		c := d.cluster()
		for range 5 {
			f := d.flow(c)
			if fault := check(d, c, f); fault != "" {
				t.Fatalf("%s\nflow %+v\nsubject %+v", fault, f, f.Subject)
			}
		}
	}
}

func TestOutcomesAgreeWithEvaluate(t *testing.T) {
	judged := 0
	each(t, func(_ dice, c *Cluster, f Flow) string {
		decision := c.Evaluate(f)
		if decision.Cause == NodeTraffic || decision.Cause == Itself {
			return ""
		}
		var want, got []RuleRef
		if decision.Cause == ByRule {
			want = append([]RuleRef{decision.Rule}, decision.Others...)
			judged++
		}
		for _, o := range Outcomes(c, f) {
			if o.Matched {
				got = append(got, o.Rule)
			}
			if o.Matched != (o.PeerMatched && o.PortMatched) || o.Why == "" || o.PortMatched && o.Distance != 0 {
				return fmt.Sprintf("outcome %+v contradicts itself", o)
			}
		}
		nearest, missed := Nearest(Outcomes(c, f))
		if alone, ok := NearestOf(c.Policies, f, c.Pods, c.namespace); ok != missed || alone != nearest {
			return fmt.Sprintf("nearest of outcomes %+v, alone %+v", nearest, alone)
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("outcomes match %v, Evaluate says %v", got, want)
		}
		return ""
	})
	if judged == 0 {
		t.Error("no flow was decided by a rule: the test saw nothing")
	}
}

func TestEvaluateIgnoresOrder(t *testing.T) {
	each(t, func(d dice, c *Cluster, f Flow) string {
		before := fmt.Sprintf("%+v", c.Evaluate(f))
		d.Shuffle(len(c.Policies), func(i, j int) { c.Policies[i], c.Policies[j] = c.Policies[j], c.Policies[i] })
		d.Shuffle(len(c.Pods), func(i, j int) { c.Pods[i], c.Pods[j] = c.Pods[j], c.Pods[i] })
		if after := fmt.Sprintf("%+v", c.Evaluate(f)); after != before {
			return fmt.Sprintf("%s, then %s after a shuffle", before, after)
		}
		return ""
	})
}

// Rules only ever allow: one more cannot take anything away, one fewer cannot
// allow anything.
func TestEvaluateIsMonotonic(t *testing.T) {
	each(t, func(d dice, c *Cluster, f Flow) string {
		if len(c.Policies) == 0 {
			return ""
		}
		before := c.Evaluate(f).Allowed
		i := d.IntN(len(c.Policies))
		p := *c.Policies[i]
		old := c.Policies[i]
		defer func() { c.Policies[i] = old }()
		c.Policies[i] = &p
		p.Rules[f.Direction] = append(slices.Clone(old.Rules[f.Direction]), d.rule())
		if before && p.Isolates[f.Direction] && !c.Evaluate(f).Allowed {
			return "one rule more denies"
		}
		p.Rules[f.Direction] = nil
		if !before && c.Evaluate(f).Allowed {
			return "fewer rules allow"
		}
		return ""
	})
}

// A second holder of the peer's address may take permission away, never give
// it, as long as nothing but the address tells the peer.
func TestEvaluateGivesNothingToSharedAddresses(t *testing.T) {
	each(t, func(d dice, c *Cluster, f Flow) string {
		held := func(p *Pod) bool { return p.live() && slices.Contains(p.IPs, f.Peer) }
		if !slices.ContainsFunc(c.Pods, held) || c.Evaluate(f).Allowed {
			return ""
		}
		other := pod("a/other", pick(d, "", "x=1", "y=1"), f.Peer.String(), pick(d, "", "n=80/TCP"))
		c.Pods = append(c.Pods, other)
		defer func() { c.Pods = c.Pods[:len(c.Pods)-1] }()
		if c.Evaluate(f).Allowed {
			return fmt.Sprintf("a second holder %+v allows", other)
		}
		return ""
	})
}
