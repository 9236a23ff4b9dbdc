// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	testnode "github.com/weirnet/weir/test/node"
	"github.com/weirnet/weir/test/scale/load"
)

// pins of the agent, on the bpffs.
const pins = "/sys/fs/bpf/" + name

const readyLimit = 2 * time.Minute

// limitFactor: the tables are as on a machine with so many times the limit
// (datapath.Memory).
const limitFactor = 16

// Agent is the shipped agent on the stage's node, with the rights of the
// chart's ServiceAccount.
type Agent struct {
	*testnode.Agent
	stage *Stage
	view  *testnode.View
}

// StartAgent and wait until it is ready.
func (s *Stage) StartAgent(ctx context.Context, log io.Writer) (a *Agent, err error) {
	launcher, err := s.launcher()
	if err != nil {
		return nil, err
	}
	plain, err := testnode.NewAgent(launcher, s.dir(name), load.LocalNode, s.Node)
	if err != nil {
		return nil, err
	}
	plain.Kubeconfig, plain.Pins, plain.Output = s.kubeconfig(), pins, log
	if plain.Args, err = s.setLimit(); err != nil {
		return nil, err
	}
	if err := s.group.resetPeak(); err != nil {
		return nil, err
	}
	if err := plain.Start(); err != nil {
		return nil, err
	}
	a = &Agent{Agent: plain, stage: s}
	if err := plain.WaitReady(ctx, readyLimit); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if a.view, err = testnode.NewView(ctx, plain); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.view.StopFlows() // nobody watches while the agent is measured
	return a, nil
}

// setLimit of the control group, and return the flags by which the agent's
// tables are as large as in a container with that limit: there it would find
// the limit by itself.
func (s *Stage) setLimit() ([]string, error) {
	if s.Limit == 0 {
		return nil, nil
	}
	if err := s.group.setLimit(s.Limit); err != nil {
		return nil, err
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, err
	}
	sizes := datapath.Sizes{}.Fill(min(uint64(info.Totalram)*uint64(info.Unit), limitFactor*s.Limit))
	return []string{
		fmt.Sprintf("--max-flows=%d", sizes.Flows), fmt.Sprintf("--max-rows=%d", sizes.Rows), fmt.Sprintf("--max-peers=%d", sizes.Peers),
	}, nil
}

// launcher is a folder in which the agent's name stands for a script that
// first enters the control group: what the agent takes from the kernel at its
// very start counts, too.
func (s *Stage) launcher() (string, error) {
	dir := s.dir("bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs || exit 1\nexec %s/weir-agent \"$@\"\n", s.group.dir, s.options.Bin)
	if err := os.WriteFile(filepath.Join(dir, "weir-agent"), []byte(script), 0o755); err != nil {
		return "", err
	}
	err := os.Symlink(filepath.Join(s.options.Bin, "weir"), filepath.Join(dir, "weir"))
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	return dir, err
}

// Close ends the agent and removes what it left in the kernel.
func (a *Agent) Close() error {
	var errs []error
	if a.view != nil {
		errs = append(errs, a.view.Close())
	}
	return errors.Join(append(errs, a.Agent.Close(), os.RemoveAll(a.Dir))...)
}

// Process of the agent.
func (a *Agent) Process() Process { return Process(a.PID()) }

// Metrics of the agent that begin so, by name and labels.
func (a *Agent) Metrics(prefix string) (map[string]float64, error) { return a.view.Samples(prefix) }

// Enforced is how many local pods have their policy in force.
func (a *Agent) Enforced() (int, error) {
	list, err := a.view.Endpoints()
	n := 0
	for _, e := range list {
		if e.GetState() == "enforced" {
			n++
		}
	}
	return n, err
}

// Charged is the memory that a container's limit would count, with the maps:
// now, and the most since the start, in bytes.
func (a *Agent) Charged() (now, peak uint64, err error) {
	g := a.stage.group
	now, err = g.read(g.now)
	peak, err2 := g.read(g.peak)
	return now, peak, errors.Join(err, err2)
}

// Map opens a pinned table of the agent for reading.
func (a *Agent) Map(table string) (*ebpf.Map, error) {
	paths, err := filepath.Glob(filepath.Join(pins, "tables-*", table))
	if table == bpf.WeirMapEpoch {
		paths, err = []string{filepath.Join(pins, table)}, nil
	}
	if err != nil || len(paths) != 1 {
		return nil, fmt.Errorf("map %s: %d pins below %s, want one (%v)", table, len(paths), pins, err)
	}
	return ebpf.LoadPinnedMap(paths[0], &ebpf.LoadPinOptions{ReadOnly: true})
}

// Traffic is what passed between the node and the host beside it since the
// stage was built, in bytes of layer 2: that of the agent with the API server,
// while nothing else is sent.
type Traffic struct {
	Received, Sent uint64
}

// Traffic of the node's uplink.
func (s *Stage) Traffic() (Traffic, error) {
	link, err := s.Node.Link.LinkByName("uplink")
	if err != nil {
		return Traffic{}, err
	}
	statistics := link.Attrs().Statistics
	return Traffic{Received: statistics.RxBytes, Sent: statistics.TxBytes}, nil
}
