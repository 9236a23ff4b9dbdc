// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/agent/endpoint"
	"github.com/weirnet/weir/agent/watch"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// problemReader is the part of a watch.Source that the controller asks.
type problemReader interface {
	Problems() []watch.Problem
	Health() error
}

// controllerParts are what a controller works with.
type controllerParts struct {
	options  Options
	dp       *datapath.Datapath
	dir      *directory
	state    *state
	metrics  *metrics
	problems problemReader
	notices  notices
	look     func() // has the interfaces looked at again
	garbage  garbage
	log      *slog.Logger
}

// controller owns the desired state: one goroutine (run) takes what arrives
// and brings the kernel to it. All fields but the channels are its own.
type controller struct {
	controllerParts
	links chan endpoint.Event // from the reader of interfaces
	asks  chan func()         // from other goroutines

	engine     *resolve.Engine
	compiler   *compile.Compiler
	tracker    *endpoint.Tracker
	bindErrors map[int]error // by ifindex
	// refusal says why no veth of this node can be enforced; empty: they can.
	refusal       string
	inspectFailed bool
	synced        bool // the first full lists of objects are applied
	listed        bool // the first full list of interfaces was told
	finished      bool
	inspectable   chan struct{}    // closed when finished
	changed       bool             // objects, since remarked
	reruled       bool             // policies, since collected
	remarked      time.Time        // when the rules were last compared with the pods
	uncollected   time.Time        // since when there may be something to collect; zero: there is not
	collected     time.Time        // the last time
	pause         <-chan time.Time // ends when it is to be collected
	generation    uint64
	hostPorts     map[policy.ObjectKey][]policy.PortNumber
	nodePorts     map[policy.ObjectKey][]policy.PortNumber
}

func newController(parts controllerParts) (*controller, error) {
	marks, err := parts.dp.Marks()
	if err != nil {
		return nil, err
	}
	c := &controller{
		controllerParts: parts,
		links:           make(chan endpoint.Event),
		asks:            make(chan func()),
		engine:          resolve.New(parts.options.Node, marks),
		compiler:        compile.New(),
		bindErrors:      map[int]error{},
		inspectable:     make(chan struct{}),
		hostPorts:       map[policy.ObjectKey][]policy.PortNumber{},
		nodePorts:       map[policy.ObjectKey][]policy.PortNumber{},
	}
	c.state.setMode(c.options.Mode)
	c.newTracker()
	c.takeRedirects(datapath.RedirectPeer()) // before the first pod is bound
	return c, nil
}

// run until ctx ends or the batches do.
func (c *controller) run(ctx context.Context, batches <-chan policy.Batch) error {
	links := c.links
	for {
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-batches:
			if !ok {
				batches = nil // the source ended: the last state stays
				continue
			}
			c.takeBatch(b)
		case e, ok := <-links:
			if !ok {
				links = nil
				continue
			}
			c.takeLinks(e)
		case ask := <-c.asks:
			ask()
		case <-c.pause:
			c.collect()
		}
		c.finish()
	}
}

// ask runs f on the controller's goroutine and waits for it.
func (c *controller) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case c.asks <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// takeBatch brings a batch of objects into force.
func (c *controller) takeBatch(b policy.Batch) {
	begun := time.Now()
	c.state.expect(b)
	c.dir.apply(b) // names first: events of the new state may come at once
	c.takePorts(b)
	ours := c.tracker.SetPods(b)
	c.push(c.engine.Apply(b), begun)
	if ours {
		c.bind()
		c.look() // its veth may be there, with addresses that nobody told of
	}
	c.synced = c.synced || b.Synced
	c.reruled = c.reruled || len(b.Policies)+len(b.DeletedPolicies) > 0
	c.collectSoon()
	c.changed = true
	c.reportManifests()
	c.notices.unusable(b)
}

// collectSoon has dropped what nothing refers to any more.
func (c *controller) collectSoon() {
	now := time.Now()
	if c.uncollected.IsZero() {
		c.uncollected = now
	}
	wait := collectIn(now, c.uncollected, c.collected, c.dp.Unsettled())
	if c.dp.Crowded() || wait == 0 {
		c.collect()
		return
	}
	c.pause = time.After(wait)
}

func (c *controller) collect() {
	c.uncollected, c.collected, c.pause = time.Time{}, time.Now(), nil
	c.push(c.engine.Collect(), time.Time{})
	// Pods that come and go make little garbage, and leave few such moments.
	if c.reruled {
		c.reruled = false
		c.garbage.moment()
	}
}

// push applies a delta. An update that finds no room is kept by the data path
// and tried again with the next.
func (c *controller) push(d *resolve.Delta, begun time.Time) {
	c.nameIDs(d)
	err := c.dp.Apply(*c.compiler.Compile(d))
	if c.state.set(conditionApply, true, err, 0) && err != nil {
		c.log.Error("policy could not be applied; what was in force stays", "error", err)
	}
	c.retireIDs(d)
	if begun.IsZero() {
		return
	}
	took := time.Since(begun)
	if err == nil {
		c.generation++
		c.state.applied(c.generation, took)
	}
	c.metrics.applySeconds.Observe(took.Seconds())
}

// nameIDs makes the names of new sets and rules known before an event can
// carry their ids.
func (c *controller) nameIDs(d *resolve.Delta) {
	rules, sets := map[uint32]*policy.RuleRef{}, map[uint32][]policy.ObjectKey{}
	for _, set := range d.NewSets {
		sets[uint32(set.ID)] = keysOf(set.Policies)
	}
	for _, id := range d.NewRules {
		if ref, _, ok := c.engine.Rule(id); ok {
			rules[uint32(id)] = &ref
		}
	}
	if len(sets) > 0 {
		c.dir.addIDs(rules, sets)
	}
}

func (c *controller) retireIDs(d *resolve.Delta) {
	var rules, sets []uint32
	for _, id := range d.GoneRules {
		rules = append(rules, uint32(id))
	}
	for _, id := range d.GoneSets {
		sets = append(sets, uint32(id))
	}
	if len(rules)+len(sets) > 0 {
		c.dir.retire(time.Now(), rules, sets)
	}
}

// takePorts keeps the ports on which this node translates what is sent to it.
func (c *controller) takePorts(b policy.Batch) {
	if len(b.Pods)+len(b.DeletedPods)+len(b.Services)+len(b.DeletedServices) == 0 {
		return
	}
	for _, p := range b.Pods {
		delete(c.hostPorts, p.ObjectKey)
		if p.Node == c.options.Node && !p.Terminal && !p.HostNetwork && len(p.HostPorts) > 0 {
			c.hostPorts[p.ObjectKey] = p.HostPorts
		}
	}
	for _, key := range b.DeletedPods {
		delete(c.hostPorts, key)
	}
	for _, s := range b.Services {
		delete(c.nodePorts, s.ObjectKey)
		for _, p := range s.Ports {
			if p.NodePort != 0 {
				c.nodePorts[s.ObjectKey] = append(c.nodePorts[s.ObjectKey], policy.PortNumber{Protocol: p.Protocol, Number: p.NodePort})
			}
		}
	}
	for _, key := range b.DeletedServices {
		delete(c.nodePorts, key)
	}
	var all []policy.PortNumber
	for _, of := range []map[policy.ObjectKey][]policy.PortNumber{c.hostPorts, c.nodePorts} {
		for _, ports := range of {
			all = append(all, ports...)
		}
	}
	if err := c.dp.SetServices(all); err != nil {
		c.log.Error("node ports and host ports could not be written", "error", err)
	}
}

// reportManifests: what the source cannot use, and rows that did not fit.
func (c *controller) reportManifests() {
	var errs []error
	problems := c.problems.Problems()
	for i, p := range problems {
		if i == 5 {
			errs = append(errs, fmt.Errorf("and %d more", len(problems)-i))
			break
		}
		errs = append(errs, errors.New(p.String()))
	}
	for _, p := range c.compiler.Problems() {
		why := fmt.Sprintf("%d port ranges towards one peer do not fit; those with the highest ports are left out and denied: merge ranges", p.Intervals)
		errs = append(errs, fmt.Errorf("policies %v: %s", p.Policies, why))
		c.notices.crowded(p.Policies, why)
	}
	err := errors.Join(errs...)
	blocks := c.problems.Health() != nil
	if blocks && err == nil {
		err = c.problems.Health()
	}
	c.state.set(conditionManifests, blocks, err, len(problems))
}

// setModes changes the modes of running endpoints.
func (c *controller) setModes(ctx context.Context, mode string, namespaces map[string]string) error {
	return c.ask(ctx, func() {
		c.options.Mode, c.options.Modes = mode, namespaces
		c.state.setMode(mode)
		c.retrack()
	})
}
