// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"slices"

	"github.com/weirnet/weir/policy"
)

// Outcome of a scenario on one engine.
type Outcome struct {
	Judged  int      // cases with a verdict
	Skipped []string // why the engine left cases out, each reason once
	// Faults are the cases with another answer than the right one.
	Faults []string
}

// Run takes an engine through a scenario.
func Run(s Scenario, e Engine) (Outcome, error) {
	var out Outcome
	for _, step := range s.Steps {
		if err := e.Apply(step.Batch); err != nil {
			return out, fmt.Errorf("%s:%d: apply: %w", s.File, step.Line, err)
		}
		if err := out.judge(step.Cases, e); err != nil {
			return out, fmt.Errorf("%s:%d: judge: %w", s.File, step.Line, err)
		}
	}
	return out, nil
}

func (o *Outcome) judge(cases []Case, e Engine) error {
	probes := make([]Probe, len(cases))
	for i, c := range cases {
		probes[i] = c.Probe
	}
	answers, err := e.Judge(probes)
	if err != nil {
		return err
	}
	if len(answers) != len(cases) {
		return fmt.Errorf("%d answers to %d probes", len(answers), len(cases))
	}
	for i, c := range cases {
		if why := answers[i].Skipped; why != "" {
			if !slices.Contains(o.Skipped, why) {
				o.Skipped = append(o.Skipped, why)
			}
			continue
		}
		o.Judged++
		if fault := c.Want.differs(answers[i]); fault != "" {
			o.Faults = append(o.Faults, fmt.Sprintf("%s: %s\n\t%s\n\t%s", c.Place, c.Text, c.Probe, fault))
		}
	}
	return nil
}

// History is the batches of a scenario.
func (s Scenario) History() []policy.Batch {
	var out []policy.Batch
	for _, step := range s.Steps {
		out = append(out, step.Batch)
	}
	return out
}

// Final is the state behind the last change.
func (s Scenario) Final() *World {
	w := NewWorld()
	for _, b := range s.History() {
		w.Apply(b)
	}
	return w
}
