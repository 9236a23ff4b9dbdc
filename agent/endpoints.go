// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/agent/endpoint"
	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// This file is the half of the controller that ties interfaces to pods.

func (c *controller) newTracker() {
	options := endpoint.TrackerOptions{
		Local:       func(node string) bool { return node == c.options.Node },
		Audit:       c.audits,
		Forwards:    c.forwards,
		UnreadyOpen: c.options.Unready == "allow",
	}
	options.Defaults()
	c.tracker = endpoint.NewTracker(options)
	var left []endpoint.Recovered
	for _, r := range c.dp.Recovered() {
		left = append(left, endpoint.Recovered{Index: r.Ifindex, Addrs: r.Addrs})
	}
	c.tracker.Recover(left)
}

func (c *controller) audits(namespace string) bool {
	return c.options.mode(namespace) == bpf.WeirModeMODE_AUDIT
}

func (c *controller) forwards(namespace string) bool {
	return slices.Contains(c.options.ForwardingNamespaces, namespace)
}

// retrack makes changed modes take effect.
func (c *controller) retrack() {
	c.tracker.SetModes(c.audits, c.forwards)
	c.bind()
}

// takeLinks takes what changed on the node.
func (c *controller) takeLinks(e endpoint.Event) {
	if e.Node != nil {
		c.takeNode(*e.Node)
	}
	c.tracker.Observe(e)
	for _, l := range e.Links {
		c.tracker.Refuse(l.Index, c.refusal)
	}
	c.listed = c.listed || e.Listed
	c.bind()
}

func (c *controller) takeNode(n endpoint.Node) {
	c.dir.setNodeAddrs(n.Addrs)
	c.push(c.engine.SetNodeAddrs(n.Addrs), time.Time{})
	if err := c.dp.SetTunnels(n.TunnelPorts); err != nil {
		c.log.Error("tunnel ports could not be written", "error", err)
	}
	if len(n.Prefixes) > 0 {
		c.log.Warn("local routes to whole prefixes: only single addresses are taken for this node's", "prefixes", n.Prefixes)
	}
	if n.Bridge.Ports && !(n.Bridge.IPv4 || n.Bridge.IPv6) {
		c.log.Warn("pods on a bridge without bridge netfilter: Services that lead to a pod of the same bridge do not work", "set", "net.bridge.bridge-nf-call-iptables=1")
	}
}

// bind brings the bindings to what they must be. What fails is tried again at
// the next inspection.
func (c *controller) bind() {
	for range endpoint.Rounds {
		changes := c.tracker.Changes()
		if changes.Empty() {
			return
		}
		if failed := c.follow(changes); failed {
			return // tried again by the next inspection
		}
	}
}

// follow changes, and show the endpoints.
func (c *controller) follow(changes endpoint.Changes) (failed bool) {
	for _, index := range changes.Unbind {
		if err := c.dp.Unbind(index); err != nil && !errors.Is(err, datapath.ErrNotBound) {
			c.log.Error("interface could not be released", "ifindex", index, "error", err)
		}
		c.dir.dropInterface(uint32(index))
		delete(c.bindErrors, index)
	}
	for _, b := range changes.Bind {
		c.dir.setInterface(uint32(b.Index), b.Name, b.Pod)
		err := c.dp.Bind(datapath.Binding{
			Ifindex: b.Index, Ifname: b.Name, Pod: b.Pod, UID: b.UID, Addrs: b.Addrs,
			Mode: modeOf(b), Forwards: b.Forwards,
		})
		delete(c.bindErrors, b.Index)
		if err != nil {
			failed = true
			c.bindErrors[b.Index] = err
			c.tracker.Forget(b.Index)
			c.log.Error("pod could not be bound; tried again within seconds", "pod", b.Pod, "interface", b.Name, "error", err)
		}
	}
	c.publishEndpoints()
	return failed
}

func modeOf(b endpoint.Binding) bpf.WeirMode {
	switch {
	case b.State == endpoint.Enforced:
		return bpf.WeirModeMODE_ENFORCE
	case b.State == endpoint.Audited:
		return bpf.WeirModeMODE_AUDIT
	case b.Open:
		return bpf.WeirModeMODE_NOT_READY_OPEN
	}
	return bpf.WeirModeMODE_NOT_READY
}

// publishEndpoints shows the endpoints, and what is wrong with them.
func (c *controller) publishEndpoints() {
	var list []server.Endpoint
	var faults []error
	sets := map[policy.ObjectKey][2]uint32{}
	for _, s := range c.engine.Subjects() {
		sets[s.Pod] = [2]uint32{uint32(s.Ingress), uint32(s.Egress)}
	}
	unready := 0
	for _, e := range c.tracker.Endpoints() {
		shown := server.Endpoint{
			Interface: e.Name, Ifindex: uint32(e.Index), Pod: e.Pod, IPs: e.Addrs,
			State: e.State.String(), Why: e.Why,
			SetIngress: sets[e.Pod][policy.Ingress], SetEgress: sets[e.Pod][policy.Egress],
		}
		if err := c.bindErrors[e.Index]; err != nil {
			shown.State, shown.Why = endpoint.NotReady.String(), err.Error()
			faults = append(faults, err)
		}
		if e.State == endpoint.Enforced || e.State == endpoint.Audited {
			shown.Attached = c.dp.AttachedBy()
		}
		if e.State == endpoint.Unenforceable {
			faults = append(faults, fmt.Errorf("pod %s cannot be enforced: %s", e.Pod, e.Why))
			c.notices.unenforceable(e.Pod, e.UID, e.Why)
		}
		if e.State == endpoint.NotReady {
			unready++
		}
		list = append(list, shown)
	}
	c.state.setEndpoints(list)
	if c.finished {
		c.state.set(conditionEndpoints, true, errors.Join(faults...), len(faults)+unready)
	}
}

// finish ends the start of the run once everything is known: until then what
// an earlier agent left stays in force.
func (c *controller) finish() {
	if c.finished || !c.synced || !c.listed {
		return
	}
	err := c.dp.Finish()
	if err != nil {
		c.log.Error("taking over from the agent before", "error", err)
	}
	if errors.Is(err, datapath.ErrNotFinished) {
		c.pause = time.After(finishAgain)
		return
	}
	c.finished = true
	c.state.set(conditionSynced, true, nil, 0)
	c.publishEndpoints()
	close(c.inspectable)
}

// finishAgain is when the start is tried again that found no room.
const finishAgain = time.Second

// announceLimit is how long an announcement waits for the pod's policy.
const announceLimit = 5 * time.Second

// Announce implements server.Announcer.
func (c *controller) Announce(ctx context.Context, a server.Announcement) (string, error) {
	link, err := net.InterfaceByName(a.Interface)
	if err != nil {
		return "", fmt.Errorf("interface %s: %w: %w", a.Interface, err, server.ErrNotFound)
	}
	var refused error
	err = c.ask(ctx, func() {
		refused = c.tracker.Announce(endpoint.Announcement{Pod: a.Pod, UID: a.UID, Addrs: a.IPs, Index: link.Index})
		c.bind()
	})
	if err := errors.Join(err, refused); err != nil {
		return "", fmt.Errorf("%w: %w", err, server.ErrConflict)
	}
	ctx, cancel := context.WithTimeout(ctx, announceLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if state := c.stateOf(link.Index, a.Pod); state != endpoint.NotReady.String() {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return endpoint.NotReady.String(), nil
		case <-tick.C:
		}
	}
}

func (c *controller) stateOf(index int, pod policy.ObjectKey) string {
	for _, e := range c.state.snapshot().endpoints {
		if int(e.Ifindex) == index && e.Pod == pod {
			return e.State
		}
	}
	return endpoint.NotReady.String()
}

// Retract implements server.Announcer.
func (c *controller) Retract(ctx context.Context, pod policy.ObjectKey, uid string) error {
	return c.ask(ctx, func() {
		c.tracker.Retract(pod, uid)
		c.bind()
	})
}
