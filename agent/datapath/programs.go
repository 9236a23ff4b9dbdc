// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// ProgramRuns says how often a program of this run of the agent ran, and for
// how long. The kernel counts while somebody has it do so (5.8 and later:
// sysctl kernel.bpf_stats_enabled; it costs each run two readings of the
// clock); else both stay as they are, 0 from the start.
type ProgramRuns struct {
	Name  string
	Count uint64
	Time  time.Duration
}

// Programs lists the programs in use, both copies of one together.
func (d *Datapath) Programs() ([]ProgramRuns, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spareMu.Lock()
	defer d.spareMu.Unlock()
	var list []ProgramRuns
	for _, hook := range hooks {
		runs, err := sumRuns(hook.String(), d.program[hook], d.spare[hook])
		if err != nil {
			return nil, err
		}
		list = append(list, runs)
	}
	if d.forward.program == nil {
		return list, nil
	}
	runs, err := sumRuns(d.forward.kind.programName(), d.forward.program)
	return append(list, runs), err
}

func sumRuns(name string, programs ...*ebpf.Program) (ProgramRuns, error) {
	sum := ProgramRuns{Name: name}
	for _, p := range programs {
		if p == nil {
			continue
		}
		stats, err := p.Stats()
		if err != nil {
			return sum, fmt.Errorf("read the runs of %s: %w", name, err)
		}
		sum.Count += stats.RunCount
		sum.Time += stats.Runtime
	}
	return sum, nil
}
