// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"

	machine "github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/record"
	"github.com/weirnet/weir/test/scale/stage"
)

// bench is a run under way.
type bench struct {
	options
	stage  *stage.Stage
	log    *os.File // of the agents
	begun  time.Time
	result record.Result
}

// measureAll builds the stage, measures, and takes everything down again, also
// after an error. The logs stay.
func measureAll(ctx context.Context, o options) (result record.Result, err error) {
	b := &bench{options: o, begun: time.Now()}
	b.result.Machine, b.result.Plan = machine.Begin(o.commit), o.plan
	if err := os.MkdirAll(o.keep, 0o755); err != nil {
		return b.result, err
	}
	if b.log, err = os.Create(filepath.Join(o.keep, "agent.log")); err != nil {
		return b.result, err
	}
	defer b.log.Close()
	b.stage, err = stage.New(ctx, stage.Options{
		State: o.state, Bin: o.bin, Cluster: filepath.Join(o.root, "test/cluster"), Stages: o.stages,
		Manifests: filepath.Join(o.root, "deploy/install.yaml"), Local: o.plan.Local,
		Routed: []netip.Prefix{load.FakePods4, load.FakePods6}, Logs: o.keep,
	})
	if err != nil {
		return b.result, fmt.Errorf("build the stage: %w", err)
	}
	defer func() {
		b.say("taking down")
		err = errors.Join(err, b.stage.Close())
	}()
	if err := b.measure(ctx); err != nil {
		return b.result, fmt.Errorf("%w (logs: %s)", err, o.keep)
	}
	b.result.Machine = b.result.Machine.Ended()
	return b.result, nil
}

// say what happens.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) measure(ctx context.Context) error {
	b.result.Limit = b.stage.Limit
	b.say("the API server answers")
	if err := load.Local(ctx, b.stage.Admin, b.plan, b.stage.Addrs); err != nil {
		return err
	}
	if err := b.measureBare(ctx); err != nil {
		return fmt.Errorf("without policies: %w", err)
	}
	if err := b.stage.StartKwok(); err != nil {
		return err
	}
	if err := load.Cluster(ctx, b.stage.Admin, b.plan, b.say); err != nil {
		return fmt.Errorf("fill the cluster: %w", err)
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	churn := load.NewChurn(b.stage.Admin, b.plan)
	if err := b.measureAgent(ctx, churn); err != nil {
		return err
	}
	if b.options.clients == 0 {
		return nil
	}
	return b.measureClients(ctx, churn)
}

// settle waits until the API server and kwok have little to do.
func (b *bench) settle(ctx context.Context) error {
	const quiet, window = 10.0, 3 * time.Second // percent of a core
	for {
		before, err := b.busy()
		if err != nil {
			return err
		}
		if err := pause(ctx, window); err != nil {
			return fmt.Errorf("the API server and kwok do not come to rest: %w", err)
		}
		after, err := b.busy()
		if err != nil {
			return err
		}
		if percent := (after - before) / window.Seconds() * 100; percent < quiet {
			return nil
		}
	}
}

func (b *bench) busy() (float64, error) {
	api, err := b.stage.API().CPU()
	if err != nil {
		return 0, err
	}
	kwok, err := b.stage.Kwok().CPU()
	return api + kwok, err
}

// pause for a time, which is what is measured.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// client of the stage's host, with a connection of its own.
func (b *bench) client() (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(b.stage.Config(b.stage.Node.Outside, nil))
}
