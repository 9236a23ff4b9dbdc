// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/api/server"
)

// inspectEvery is how often what others may have changed is looked at: the
// place on the hooks, programs that redirect past veths, and whether a test
// packet through the live programs is answered right.
const inspectEvery = 5 * time.Second

// inspection is what one look found. Looking takes a few system calls for each
// interface, so it is done beside the controller, which only takes the result.
type inspection struct {
	redirects   []datapath.Finding
	redirectErr error
	displaced   []datapath.Displaced
	hooksErr    error  // why the hooks could not be looked at
	forward     string // what was wrong after translation; empty: nothing
	forwardErr  error  // why it still is
	selfTest    error
	neighbours  []server.Neighbour
}

// inspectAll looks again and again, once everything is in force.
func (c *controller) inspectAll(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.inspectable:
	}
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for {
		found := c.inspect()
		if err := c.ask(ctx, func() { c.takeInspection(found) }); err != nil {
			return nil // ctx ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *controller) inspect() inspection {
	var i inspection
	i.redirects, i.redirectErr = datapath.RedirectPeer()
	restored, err := c.dp.Restore()
	i.displaced, i.hooksErr = restored.Displaced, err
	i.forward, i.forwardErr = c.dp.RestoreForward()
	i.selfTest = c.dp.SelfTest()
	for _, e := range c.state.snapshot().endpoints {
		if e.Attached == "" {
			continue
		}
		for _, p := range restored.Positions[int(e.Ifindex)] {
			for _, n := range p.Ahead {
				i.neighbours = append(i.neighbours, server.Neighbour{Interface: e.Interface, Hook: p.Hook.String(), Program: n.String(), Ahead: true})
			}
			for _, n := range p.Behind {
				i.neighbours = append(i.neighbours, server.Neighbour{Interface: e.Interface, Hook: p.Hook.String(), Program: n.String()})
			}
		}
	}
	return i
}

// takeInspection acts on what was found, on the controller's goroutine.
func (c *controller) takeInspection(i inspection) {
	c.takeRedirects(i.redirects, i.redirectErr)
	c.bind()             // what failed before
	c.publishEndpoints() // a pod that waits too long for its interface is named then
	c.state.setNeighbours(i.neighbours)
	var faults []error
	if i.hooksErr != nil {
		faults = append(faults, i.hooksErr)
	}
	for _, d := range i.displaced {
		if d.Err == nil && d.Now.First() {
			c.log.Warn("place on a hook was lost and is taken back", "what", d.String())
			continue
		}
		faults = append(faults, errors.New(d.String()))
	}
	if i.forward != "" {
		c.log.Warn("verdicts after translation", "what", i.forward)
	}
	if i.forwardErr != nil {
		faults = append(faults, fmt.Errorf("verdicts after translation: %s: %w", i.forward, i.forwardErr))
	}
	if c.state.set(conditionHooks, true, errors.Join(faults...), len(faults)) && len(faults) > 0 {
		c.log.Error("hooks", "error", errors.Join(faults...))
	}
	if c.state.set(conditionSelfTest, true, i.selfTest, 0) && i.selfTest != nil {
		c.log.Error("self test", "error", i.selfTest)
	}
}

// takeRedirects: the target of bpf_redirect_peer is known at run time alone,
// so one program that calls it makes every pod on a veth of this node
// unenforceable.
func (c *controller) takeRedirects(found []datapath.Finding, err error) {
	if err != nil && !c.inspectFailed {
		c.log.Warn("programs on this node's interfaces could not all be examined for redirects past veths", "error", err)
	}
	c.inspectFailed = err != nil
	reason := ""
	if len(found) > 0 {
		f := found[0]
		reason = fmt.Sprintf("program %d (%s) on %s calls bpf_redirect_peer, so packets pass where weir cannot see them", f.Program, f.Name, f.Ifname)
	}
	if reason == c.refusal {
		return
	}
	c.refusal = reason
	for _, e := range c.tracker.Endpoints() {
		if e.Index != 0 {
			c.tracker.Refuse(e.Index, reason)
		}
	}
	c.log.Warn("redirects past veths", "found", reason)
}
