// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// sweepEvery is how often the table of flows is walked.
const sweepEvery = 5 * time.Second

// recording brings what the programs tell and what is in their table of flows
// into the store.
type recording struct {
	dp       *datapath.Datapath
	dir      *directory
	store    *flows.Store
	recorder *flows.Recorder
	accounts *flows.Accounts // nil without --rule-metrics
	notices  notices
	log      *slog.Logger
}

func newRecording(o Options, dp *datapath.Datapath, dir *directory, store *flows.Store, log *slog.Logger) (*recording, error) {
	enricher, err := flows.NewEnricher(flows.EnricherOptions{
		Places: dir, Rules: dir, Clock: flows.SystemClock, Nearest: dir.nearest,
	})
	if err != nil {
		return nil, err
	}
	r := &recording{dp: dp, dir: dir, store: store, log: log}
	// Ids begin anywhere, so that those of two agents, or of two runs, do not meet.
	ro := flows.RecorderOptions{Enricher: enricher, FirstID: rand.Uint64()}
	if o.RuleMetrics {
		r.accounts = flows.NewAccounts()
		ro.Ledger = r.accounts
	}
	r.recorder = flows.NewRecorder(ro)
	return r, nil
}

// events takes what the programs tell until ctx ends.
func (r *recording) events(ctx context.Context) error {
	return r.dp.Events(ctx, func(e bpf.WeirEvent) {
		if err := flows.Check(&e); err != nil {
			r.log.Warn("event dropped", "error", err)
			return
		}
		f := r.recorder.Event(&e)
		r.store.Add(f)
		r.notices.denied(f)
	})
}

// sweeps walks the table of flows until ctx ends.
func (r *recording) sweeps(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.sweep(); err != nil {
			r.log.Error("expired flows could not be deleted; the next pass tries again", "error", err)
		}
	}
}

func (r *recording) sweep() error {
	clock, err := r.dp.Clock()
	if err != nil {
		return err
	}
	pass := r.recorder.Pass(clock.Nanos, clock.Age)
	tell := func(f *flows.Flow) {
		if f != nil {
			r.store.Add(f)
		}
	}
	_, err = r.dp.Sweep(
		func(e datapath.FlowRecord) { tell(pass.Closed(e.Key, e.Flow)) },
		func(e datapath.FlowRecord) { tell(pass.Live(e.Key, e.Flow)) },
	)
	if err != nil {
		return err // what was not met is not forgotten
	}
	pass.End()
	if r.accounts != nil {
		r.accounts.Retain(r.dir.hasRule, r.dir.hasPolicy)
	}
	return nil
}

// hasRule tells whether a rule is one of a policy that is known.
func (d *directory) hasRule(ref policy.RuleRef) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.policies[ref.Policy.Namespace][ref.Policy.Name]
	return p != nil && ref.Index < len(p.Rules[ref.Direction])
}

func (d *directory) hasPolicy(key policy.ObjectKey) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.policies[key.Namespace][key.Name] != nil
}
