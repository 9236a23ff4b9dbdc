// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/agent/endpoint"
	"github.com/weirnet/weir/agent/watch"
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
	dp, err := datapath.Load(o.datapath(), log)
	if err != nil {
		return fmt.Errorf("data path: %w", err)
	}
	defer func() { err = errors.Join(err, dp.Close()) }()

	source, err := watch.NewDirectory(watch.DirectoryOptions{Path: o.Manifests, StateDir: o.StateDir}, log)
	if err != nil {
		return err
	}
	store, err := flows.NewStore(int(o.StoredFlows))
	if err != nil {
		return err
	}
	dir := newDirectory()
	st := newState(setup.Version, o.Node, time.Now())
	st.source = "directory " + o.Manifests
	m := newMetrics(dp, dir, st, log)
	enricher, err := flows.NewEnricher(flows.EnricherOptions{
		Places: dir, Rules: dir, Clock: flows.SystemClock, Nearest: dir.nearest,
	})
	if err != nil {
		return err
	}
	links, err := endpoint.NewReader(log)
	if err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	ctl, err := newController(controllerParts{
		options: o, dp: dp, dir: dir, state: st, metrics: m, problems: source, look: links.Look, log: log,
	})
	if err != nil {
		return err
	}
	api, err := newAPI(setup, dp, dir, st, store, ctl)
	if err != nil {
		return err
	}
	// The sockets come before anything is attached: one that is in the way
	// ends the agent without a trace.
	socket, err := server.Listen(o.Socket)
	if err != nil {
		return err
	}
	var http net.Listener
	if o.Metrics != "" {
		if http, err = net.Listen("tcp", o.Metrics); err != nil {
			return errors.Join(fmt.Errorf("--metrics-address: %w", err), socket.Close())
		}
	}

	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan policy.Batch)
	g.Go(func() error { return source.Run(ctx, batches) })
	g.Go(func() error { return links.Run(ctx, ctl.links) })
	g.Go(func() error { return ctl.run(ctx, batches) })
	g.Go(func() error { return ctl.inspectAll(ctx) })
	g.Go(func() error {
		return dp.Events(ctx, func(e bpf.WeirEvent) {
			if err := flows.Check(&e); err != nil {
				log.Warn("event dropped", "error", err)
				return
			}
			store.Add(enricher.Flow(&e))
		})
	})
	g.Go(func() error { return sweep(ctx, dp, log) })
	g.Go(func() error { return api.Run(ctx, socket) })
	g.Go(func() error { return followReadiness(ctx, st, api) })
	if http != nil {
		g.Go(func() error { return serveHTTP(ctx, http, m, st) })
	}
	if setup.Config != "" {
		g.Go(func() error { return watchConfig(ctx, setup, ctl, st) })
	}
	log.Info("started", "socket", o.Socket, "metrics", o.Metrics, "kernel", dp.Kernel())
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	log.Info("stopped; programs and policy stay in force", "pins", o.PinDir)
	return err
}

// Cleanup removes everything of weir from the node.
func Cleanup(o Options, log *slog.Logger) error {
	if err := datapath.Cleanup(o.datapath(), log); err != nil {
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

func newAPI(setup Setup, dp *datapath.Datapath, dir *directory, st *state, store *flows.Store, ctl *controller) (*server.Server, error) {
	reader := &policyReader{dir: dir, node: setup.Options.Node, live: dp}
	so := server.Defaults()
	so.Node = setup.Options.Node
	so.RunID = rand.Text()
	so.Flows = store
	so.Policies, so.Explainer = reader, reader
	so.State = &stateReader{state: st, dir: dir, dp: dp}
	so.Announcer = ctl
	so.Log = setup.Log
	so.KernelLost = func() uint64 {
		rings, err := dp.Lost()
		if err != nil {
			setup.Log.Error("counts of lost events cannot be read", "error", err)
		}
		return rings[bpf.WeirRingRING_ALLOWED].Lost + rings[bpf.WeirRingRING_DENIED].Lost
	}
	return server.New(so)
}

// sweepEvery is how often expired flows are deleted.
const sweepEvery = 5 * time.Second

func sweep(ctx context.Context, dp *datapath.Datapath, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := dp.Sweep(func(datapath.FlowRecord) {}, nil); err != nil {
			log.Error("expired flows could not be deleted; the next pass tries again", "error", err)
		}
	}
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
