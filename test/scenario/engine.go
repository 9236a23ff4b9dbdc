// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// Engine is one implementation of policy for the pods of the node Here. It
// begins without any object.
type Engine interface {
	// Apply takes what arrived together.
	Apply(policy.Batch) error
	// Judge answers each probe in the present state. Probes of one call must
	// not depend on each other.
	Judge([]Probe) ([]Answer, error)
	Close() error
}

// pipeline is what all engines but the oracle share: it turns batches into
// updates.
type pipeline struct {
	resolver *resolve.Engine
	compiler *compile.Compiler
}

func newPipeline(marks resolve.Marks) *pipeline {
	return &pipeline{resolver: resolve.New(Here, marks), compiler: compile.New()}
}

func (p *pipeline) update(b policy.Batch) compile.Update {
	return *p.compiler.Compile(p.resolver.Apply(b))
}

func (p *pipeline) nodeAddrs() compile.Update {
	return *p.compiler.Compile(p.resolver.SetNodeAddrs(NodeAddrs()))
}

func (p *pipeline) collect() compile.Update {
	return *p.compiler.Compile(p.resolver.Collect())
}

// cause names a rule.
func (p *pipeline) cause(id resolve.RuleID) string {
	ref, _, ok := p.resolver.Rule(id)
	if !ok {
		return "a rule that is gone"
	}
	return ruleCause(ref)
}
