// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/measure"
	"github.com/weirnet/weir/test/scale/record"
	"github.com/weirnet/weir/test/scale/stage"
)

// afterStart is how long an agent is left alone before it is measured at rest.
const afterStart = 10 * time.Second

// with an agent, which is removed again.
func (b *bench) withAgent(ctx context.Context, f func(*stage.Agent, record.Start) error) (err error) {
	before, err := b.meter(nil)
	if err != nil {
		return err
	}
	agent, err := b.stage.StartAgent(ctx, b.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	after, err := b.meter(agent)
	if err != nil {
		return err
	}
	start := record.Start{
		Seconds: after.at.Sub(before.at).Seconds(), CPU: after.agent, Requests: after.requests - before.requests,
		Received: after.traffic.Received - before.traffic.Received, Sent: after.traffic.Sent - before.traffic.Sent,
	}
	if start.Memory, err = memory(agent); err != nil {
		return err
	}
	if start.Enforced, err = agent.Enforced(); err != nil {
		return err
	}
	if start.Enforced != b.plan.Local {
		return fmt.Errorf("%d of %d local pods are enforced", start.Enforced, b.plan.Local)
	}
	return f(agent, start)
}

func (b *bench) measureBare(ctx context.Context) error {
	return b.withAgent(ctx, func(agent *stage.Agent, _ record.Start) (err error) {
		b.result.Bare, err = b.measureRest(ctx, agent)
		b.say("bare: %.2f %% of a core, %d MB resident, %d MB charged", b.result.Bare.CPU, b.result.Bare.Memory.Resident>>20, b.result.Bare.Memory.Charged>>20)
		return err
	})
}

func (b *bench) measureAgent(ctx context.Context, churn *load.Churn) error {
	return b.withAgent(ctx, func(agent *stage.Agent, start record.Start) (err error) {
		b.result.Start = start
		b.say("started in %.1f s with %d requests, %.1f MB received", start.Seconds, start.Requests, float64(start.Received)/1e6)
		if b.result.Rest, err = b.measureRest(ctx, agent); err != nil {
			return err
		}
		b.say("at rest: %.2f %% of a core, %d MB resident, %d MB charged", b.result.Rest.CPU, b.result.Rest.Memory.Resident>>20, b.result.Rest.Memory.Charged>>20)
		if err := b.measureChurn(ctx, agent, churn); err != nil {
			return fmt.Errorf("churn: %w", err)
		}
		if err := b.compare(ctx, agent, churn); err != nil {
			return fmt.Errorf("the agent's table and the API server's pods differ: %w", err)
		}
		b.result.Probes, err = b.probe(ctx)
		return err
	})
}

func (b *bench) measureRest(ctx context.Context, agent *stage.Agent) (record.Rest, error) {
	if err := pause(ctx, afterStart); err != nil {
		return record.Rest{}, err
	}
	before, err := b.meter(agent)
	if err != nil {
		return record.Rest{}, err
	}
	if err := pause(ctx, b.lengths.rest); err != nil {
		return record.Rest{}, err
	}
	after, err := b.meter(agent)
	if err != nil {
		return record.Rest{}, err
	}
	rest := record.Rest{
		Seconds: after.at.Sub(before.at).Seconds(), CPU: percent(before, after, after.agent-before.agent),
		Received: after.traffic.Received - before.traffic.Received, Sent: after.traffic.Sent - before.traffic.Sent,
	}
	rest.Memory, err = memory(agent)
	return rest, err
}

func (b *bench) measureChurn(ctx context.Context, agent *stage.Agent, churn *load.Churn) (err error) {
	peers, err := agent.Map(bpf.WeirMapPeers)
	if err != nil {
		return err
	}
	defer peers.Close()
	var clients [2]kubernetes.Interface
	for i := range clients {
		if clients[i], err = b.client(); err != nil {
			return err
		}
	}
	tracker, err := measure.Follow(ctx, clients, peers, func(p *corev1.Pod) bool { return load.Key(p) != "" })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracker.Close()) }()
	churn.Run(ctx, b.plan.Life/3) // until it goes evenly
	if _, err := tracker.Take(); err != nil {
		return err
	}
	before, err := b.meter(agent)
	if err != nil {
		return err
	}
	done := churn.Run(ctx, b.lengths.churn)
	after, err := b.meter(agent)
	if err != nil {
		return err
	}
	samples, err := tracker.Take()
	if err != nil {
		return err
	}
	b.result.Churn = record.Churn{
		Churned: done, CPU: percent(before, after, after.agent-before.agent), APICPU: percent(before, after, after.api-before.api),
		Received: after.traffic.Received - before.traffic.Received, Sent: after.traffic.Sent - before.traffic.Sent,
		Requests: after.requests - before.requests, Writes: difference(before.metrics, after.metrics, "weir_map_writes_total"),
		Epochs: after.epoch - before.epoch,
		Added:  record.QuantilesOf(samples.Added), Gone: record.QuantilesOf(samples.Deleted),
		Looks: record.QuantilesOf(samples.Looks), Apart: record.QuantilesOf(samples.Apart),
		Missed: samples.Missed, Reused: samples.Reused,
	}
	c := &b.result.Churn
	const applies = "weir_policy_apply_duration_seconds"
	c.Applies = after.metrics[applies+"_count"] - before.metrics[applies+"_count"]
	c.ApplyMean = (after.metrics[applies+"_sum"] - before.metrics[applies+"_sum"]) / max(1, c.Applies) * 1000
	if c.Memory, err = memory(agent); err != nil {
		return err
	}
	b.say("churn: %.2f %% of a core, %d MB resident; event to table p50 %.2f, p99 %.2f, max %.2f ms of %d", c.CPU, c.Memory.Resident>>20, c.Added.P50, c.Added.P99, c.Added.Max, c.Added.Count)
	return b.judge(ctx, done, samples)
}

// judge whether what was measured is what was to be measured.
func (b *bench) judge(ctx context.Context, done load.Churned, samples measure.Samples) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var errs []error
	if want := float64(b.plan.Rate) * done.Seconds * 0.95; float64(done.Created) < want || float64(done.Deleted) < want || done.Errors > 0 {
		errs = append(errs, fmt.Errorf("%d pods created and %d deleted in %.0f s with %d errors: not %d a second", done.Created, done.Deleted, done.Seconds, done.Errors, b.plan.Rate))
	}
	if samples.Missed > 0 {
		errs = append(errs, fmt.Errorf("the table did not follow %d changes", samples.Missed))
	}
	if seen := len(samples.Added) + samples.Reused; float64(seen) < float64(done.Created)/2*0.95 {
		errs = append(errs, fmt.Errorf("%d changes were seen, of %d pods created", seen, done.Created))
	}
	return errors.Join(errs...)
}

// compare the table of peers with the pods, once the churn has come to rest.
func (b *bench) compare(ctx context.Context, agent *stage.Agent, churn *load.Churn) error {
	if err := churn.Settle(ctx); err != nil {
		return err
	}
	peers, err := agent.Map(bpf.WeirMapPeers)
	if err != nil {
		return err
	}
	defer peers.Close()
	list, err := b.stage.Admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	limit := time.Now().Add(5 * time.Second)
	for {
		b.result.Churn.Agreement, err = measure.Agree(peers, list.Items, load.Ranges(), load.Key)
		if err == nil || time.Now().After(limit) {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// difference of the samples of a metric.
func difference(before, after map[string]float64, metric string) map[string]float64 {
	out := map[string]float64{}
	for name, value := range after {
		if labels, ok := strings.CutPrefix(name, metric+"{"); ok && value > before[name] {
			out[strings.TrimSuffix(labels, "}")] = value - before[name]
		}
	}
	return out
}
