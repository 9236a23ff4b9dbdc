// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/agent/endpoint"
	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// Setup is what main hands to Run.
type Setup struct {
	Options Options
	Version string
	Log     *slog.Logger
	// Config is the file that Reload reads; empty: nothing to watch.
	Config string
	// Reload reads all sources of options again.
	Reload func() (Options, error)
}

// Run is the agent: it returns when ctx ends, or when a stage failed for good.
// Links, programs and maps stay in the kernel and go on working; Cleanup
// removes them.
func Run(ctx context.Context, setup Setup) (err error) {
	o, log := setup.Options, setup.Log
	// A mistyped path ends the agent before it leaves a trace on the node.
	source, err := openSource(o, setup.Version, log)
	if err != nil {
		return err
	}
	dp, err := datapath.Load(o.datapath(), log)
	if err != nil {
		return fmt.Errorf("data path: %w", err)
	}
	defer func() { err = errors.Join(err, dp.Close()) }()

	store, err := flows.NewStore(int(o.StoredFlows))
	if err != nil {
		return err
	}
	dir := newDirectory()
	st := newState(setup.Version, o.Node, time.Now())
	st.source = source.name
	rec, err := newRecording(o, dp, dir, store, log)
	if err != nil {
		return err
	}
	rec.notices = notices{events: source.events, dir: dir}
	m := newMetrics(metrics{
		kernel: dp, programs: dp.Programs, dir: dir, state: st,
		store: store, recorder: rec.recorder, accounts: rec.accounts, source: source, log: log,
	})
	links, err := endpoint.NewReader(log)
	if err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	ctl, err := newController(controllerParts{
		options: o, dp: dp, dir: dir, state: st, metrics: m, problems: source, notices: rec.notices, look: links.Look, garbage: newGarbage(), log: log,
	})
	if err != nil {
		return err
	}
	gate, err := newGate(o, source)
	if err != nil {
		return err
	}
	api, err := newAPI(setup, dp, dir, st, rec, ctl, gate)
	if err != nil {
		return err
	}
	plugin, err := newPlugin(o, log)
	if err != nil {
		return err
	}
	// The sockets come before anything is attached: one that is in the way
	// ends the agent without a trace.
	doors, err := openDoors(o)
	if err != nil {
		return err
	}

	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan policy.Batch)
	g.Go(func() error { return source.Run(ctx, batches) })
	g.Go(func() error { return source.writeEvents(ctx) })
	g.Go(func() error { return followSource(ctx, source, ctl) })
	g.Go(func() error { return links.Run(ctx, ctl.links) })
	g.Go(func() error { return ctl.run(ctx, batches) })
	g.Go(func() error { return ctl.inspectAll(ctx) })
	g.Go(func() error { return ctl.garbage.run(ctx) })
	g.Go(func() error { return rec.events(ctx) })
	g.Go(func() error { return rec.sweeps(ctx) })
	g.Go(func() error { return api.Run(ctx, doors.socket) })
	if doors.viewers != nil {
		g.Go(func() error { return api.RunViewers(ctx, doors.viewers) })
	}
	g.Go(func() error { return followReadiness(ctx, st, api) })
	if doors.http != nil {
		g.Go(func() error { return serveHTTP(ctx, doors.http, m, st) })
	}
	if setup.Config != "" {
		g.Go(func() error { return watchConfig(ctx, setup, ctl, st) })
	}
	if plugin != nil {
		st.set(conditionCNI, true, errors.New("not done yet"), 0)
		g.Go(func() error { return keepPlugin(ctx, plugin, ctl, st) })
	}
	log.Info("started", "source", source.name, "socket", o.Socket, "metrics", o.Metrics, "viewers", o.Viewers, "kernel", dp.Kernel())
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if plugin != nil && outer.Err() != nil {
		err = errors.Join(err, leavePlugin(outer, plugin, o, setup.Version, log))
	}
	log.Info("stopped; programs and policy stay in force", "pins", o.PinDir)
	return err
}

// Cleanup removes everything of weir from the node.
func Cleanup(o Options, log *slog.Logger) error {
	if err := o.CNI.validate(); err != nil {
		return fmt.Errorf("cleanup: %w", err)
	}
	err := datapath.Cleanup(o.datapath(), log)
	if errors.Is(err, datapath.ErrLocked) {
		return fmt.Errorf("cleanup: %w", err) // it would put the plugin back
	}
	plugin, pluginErr := newPlugin(o, log)
	if plugin != nil {
		pluginErr = plugin.Remove()
	}
	if err := errors.Join(err, pluginErr); err != nil {
		return fmt.Errorf("cleanup: %w", err)
	}
	return nil
}

// datapath are the options of that stage.
func (o *Options) datapath() datapath.Options {
	d := datapath.Options{
		PinDir:          o.PinDir,
		LockPath:        filepath.Join(o.StateDir, "lock"),
		Attach:          datapath.AttachKind(o.Attach),
		Forward:         datapath.ForwardKind(o.ForwardHook),
		KeepExisting:    o.Existing == "keep",
		MidstreamStrict: o.Midstream == "strict",
		SkipSourceCheck: !o.SourceCheck,
		Sizes: datapath.Sizes{
			Flows: uint32(o.MaxFlows), Rows: uint32(o.MaxRows), Peers: uint32(o.MaxPeers), Endpoints: uint32(o.MaxEndpoints),
		},
	}
	if o.Unready == "allow" {
		d.Unready = bpf.WeirModeMODE_NOT_READY_OPEN
	}
	return d
}

func newAPI(setup Setup, dp *datapath.Datapath, dir *directory, st *state, rec *recording, ctl *controller, gate server.Gate) (*server.Server, error) {
	reader := &policyReader{dir: dir, state: st, node: setup.Options.Node, live: dp, accounts: rec.accounts, since: st.started}
	so := server.Defaults()
	so.Node = setup.Options.Node
	so.RunID = rand.Text()
	so.Flows = rec.store
	so.Policies, so.Explainer = reader, reader
	so.State = &stateReader{state: st, dir: dir, dp: dp, recorder: rec.recorder}
	so.Announcer = ctl
	so.Gate = gate
	so.Log = setup.Log
	so.KernelLost = func() (lost, limited uint64) {
		rings, err := dp.Lost()
		if err != nil {
			setup.Log.Error("counts of lost events cannot be read", "error", err)
		}
		for _, ring := range rings {
			lost, limited = lost+ring.Lost, limited+ring.Limited
		}
		return lost, limited
	}
	return server.New(so)
}

// followReadiness tells the health service.
func followReadiness(ctx context.Context, st *state, api *server.Server) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		api.SetReady(st.notReady() == nil)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// configTime is the modification time of a file; zero if it is not there.
func configTime(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
