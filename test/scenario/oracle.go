// SPDX-License-Identifier: Apache-2.0

package scenario

import "github.com/weirnet/weir/policy"

// Oracle judges by policy.Evaluate.
type Oracle struct{ world *World }

// NewOracle has no objects.
func NewOracle() *Oracle { return &Oracle{NewWorld()} }

// Apply implements Engine.
func (o *Oracle) Apply(b policy.Batch) error { o.world.Apply(b); return nil }

// Close implements Engine.
func (o *Oracle) Close() error { return nil }

// Judge implements Engine.
func (o *Oracle) Judge(probes []Probe) ([]Answer, error) {
	cluster := o.world.Cluster()
	answers := make([]Answer, len(probes))
	for i, p := range probes {
		if o.world.hasService(p.Destination.Addr) {
			answers[i].Skipped = "policies do not speak of Services' addresses"
			continue
		}
		for _, d := range policy.Directions {
			subject, peer := p.End(d)
			if !subject.Judged() {
				continue
			}
			answers[i].Ends[d] = decide(cluster.Evaluate(policy.Flow{
				Direction: d, Subject: subject.Pod, Peer: peer.Addr, Protocol: p.Protocol, Port: p.Port, OwnNode: peer.Node,
			}))
		}
	}
	return answers, nil
}

func decide(d policy.Decision) *Verdict {
	v := &Verdict{Allowed: d.Allowed, Cause: None}
	switch d.Cause {
	case policy.ByRule:
		v.Cause = ruleCause(d.Rule)
	case policy.NotIsolated:
		v.Cause = Open
	case policy.NodeTraffic:
		v.Cause = OfNode
	case policy.Itself:
		v.Cause = Self
	}
	return v
}
