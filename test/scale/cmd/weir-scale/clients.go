// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/rest"

	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/measure"
	"github.com/weirnet/weir/test/scale/record"
)

// measureClients has the API server serve no client, and then many, each at
// rest and with churn. They are on the node under test, whose agent has ended.
func (b *bench) measureClients(ctx context.Context, churn *load.Churn) error {
	b.result.Clients.Count = b.options.clients
	if err := b.measurePhases(ctx, churn, nil); err != nil {
		return fmt.Errorf("without clients: %w", err)
	}
	token, err := b.stage.Token(ctx)
	if err != nil {
		return err
	}
	before, err := b.meter(nil)
	if err != nil {
		return err
	}
	b.say("starting %d clients", b.options.clients)
	clients, err := measure.Start(ctx, b.options.clients, load.LocalNode, func(wrap func(net.Conn) net.Conn) *rest.Config {
		config := b.stage.Config(b.stage.Node.Namespace, wrap)
		config.BearerToken = token // the agent's rights, and no more
		config.CertFile, config.KeyFile, config.CertData, config.KeyData = "", "", nil, nil
		return config
	})
	if err != nil {
		return err
	}
	defer func() { _ = clients.Close() }() // its error was Count's
	after, err := b.meter(nil)
	if err != nil {
		return err
	}
	received, _, err := clients.Count()
	if err != nil {
		return err
	}
	n := float64(b.options.clients)
	c := &b.result.Clients
	c.ListBytes, c.ListCPU = float64(received)/n, (after.api-before.api)/n
	b.say("lists: %.1f MB and %.2f s of the API server's CPU for each", c.ListBytes/1e6, c.ListCPU)
	return b.measurePhases(ctx, churn, clients)
}

func (b *bench) measurePhases(ctx context.Context, churn *load.Churn, clients *measure.Clients) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := b.measurePhase(0, clients, func() error { return pause(ctx, b.lengths.clients) }); err != nil {
		return err
	}
	churn.Run(ctx, b.plan.Life/3) // until it goes evenly
	if err := b.measurePhase(b.plan.Rate, clients, func() error {
		done := churn.Run(ctx, b.lengths.clients)
		if want := float64(b.plan.Rate) * done.Seconds * 0.95; float64(done.Created) < want || done.Errors > 0 {
			return fmt.Errorf("%d pods created in %.0f s with %d errors: not %d a second", done.Created, done.Seconds, done.Errors, b.plan.Rate)
		}
		return nil
	}); err != nil {
		return err
	}
	return churn.Settle(ctx)
}

func (b *bench) measurePhase(rate int, clients *measure.Clients, run func() error) error {
	phase := record.Phase{Rate: rate}
	count := func() (bytes, events float64, err error) {
		if clients == nil {
			return 0, 0, nil
		}
		n, m, err := clients.Count()
		phase.Clients = b.options.clients
		return float64(n), float64(m), err
	}
	bytes, events, err := count()
	before, err2 := b.stage.API().CPU()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	begun := time.Now()
	if err := run(); err != nil {
		return err
	}
	after, err := b.stage.API().CPU()
	phase.Seconds = time.Since(begun).Seconds()
	bytes2, events2, err2 := count()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	phase.APICPU = (after - before) / phase.Seconds * 100
	if clients != nil {
		per := float64(b.options.clients) * phase.Seconds
		phase.Bytes, phase.Events = (bytes2-bytes)/per, (events2-events)/per
	}
	b.result.Clients.Phases = append(b.result.Clients.Phases, phase)
	b.say("%d clients, %d pods a second: API server %.1f %% of a core, %.1f kB/s each", phase.Clients, rate, phase.APICPU, phase.Bytes/1000)
	return nil
}
