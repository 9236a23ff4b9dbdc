// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"slices"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// Interpreter judges by the compiled tables, read in Go.
type Interpreter struct {
	*pipeline
	tables compile.Tables
}

// NewInterpreter has no objects.
func NewInterpreter() *Interpreter {
	i := &Interpreter{pipeline: newPipeline(resolve.Marks{})}
	i.write(i.nodeAddrs())
	return i
}

func (e *Interpreter) write(u compile.Update) { e.tables.Apply(&u) }

// Apply implements Engine.
func (e *Interpreter) Apply(b policy.Batch) error {
	e.write(e.update(b))
	e.write(e.collect())
	return nil
}

// Close implements Engine.
func (e *Interpreter) Close() error { return nil }

// Canonical is the tables without their ids.
func (e *Interpreter) Canonical() []string { return e.tables.Canonical(e.cause) }

// Judge implements Engine.
func (e *Interpreter) Judge(probes []Probe) ([]Answer, error) {
	answers := make([]Answer, len(probes))
	for i, p := range probes {
		if e.tables.Peers[compile.AddressKey(p.Destination.Addr)].Flags != 0 || p.Source.Node {
			answers[i].Skipped = "the tables hold policy alone: node and Services are the programs' part"
			continue
		}
		if p.Source.Pod != nil && slices.Contains(p.Source.Pod.IPs, p.Destination.Addr) {
			answers[i].Skipped = "own traffic is told by its interface, not by the tables"
			continue
		}
		for _, d := range policy.Directions {
			if subject, peer := p.End(d); subject.Judged() {
				answers[i].Ends[d] = e.judge(d, subject, peer, p)
			}
		}
	}
	return answers, nil
}

func (e *Interpreter) judge(d policy.Direction, subject, peer End, p Probe) *Verdict {
	allowed, rule, set, _ := e.tables.Judge(subject.Pod.ObjectKey, d, peer.Addr, p.Protocol, p.Port)
	switch {
	case rule != 0:
		return &Verdict{allowed, e.cause(rule)}
	case set == 0:
		return &Verdict{allowed, Open}
	}
	return &Verdict{allowed, None}
}
