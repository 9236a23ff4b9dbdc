// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/netns"
)

// Measure takes all workloads on all wirings, and tells what a reader of the
// results has to know. When ctx ends it stops soon, and removes what it made.
func Measure(ctx context.Context, o Options) (all []record.Traffic, notes []string, err error) {
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("options of the benchmark: %w", err)
	}
	for _, w := range o.Wirings {
		results, err := measureWiring(ctx, o, w)
		all = append(all, results...)
		if err != nil {
			return all, nil, fmt.Errorf("%s: %w", wiringName(w), err)
		}
	}
	return all, append(versions(),
		fmt.Sprintf("IPv4, pods of one node; client and server on one CPU; runs of about %v in turn with the baseline.", o.Slice),
		"Latency is the median of a run; values are the median of the runs.",
		fmt.Sprintf("One-way UDP: datagrams of %d bytes, the sender waits after each %d until they were read, and hears of it outside the network.", payload, burst),
		"All policies select both pods in both directions; only the last one allows the traffic.",
		"iptables: one chain for each policy, asked by two chains for each pod, behind an accept of established connections; nftables: one set of concatenations for each direction."), nil
}

// versions of what weir is compared with.
func versions() []string {
	var list []string
	for _, command := range []string{"iptables-legacy --version", "ipset --version", "nft --version"} {
		fields := strings.Fields(command)
		out, err := exec.Command(fields[0], fields[1:]...).Output()
		if err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			list = append(list, first)
		}
	}
	return []string{strings.Join(list, "; ") + "."}
}

func measureWiring(ctx context.Context, o Options, w netns.Wiring) (results []record.Traffic, err error) {
	stages := map[string]*stage{}
	defer func() {
		for _, s := range stages {
			err = errors.Join(err, s.close())
		}
	}()
	for number, v := range o.variantsOf(w) {
		s, err := newStage(ctx, o, v, w, number)
		if err != nil {
			return nil, err
		}
		stages[v.name] = s
	}
	for _, policies := range o.Policies {
		for _, s := range stages {
			if s.variant.policies == nil {
				continue
			}
			if err := s.variant.policies(s, policies); err != nil {
				return results, fmt.Errorf("%s, %d policies: %w", s.variant.name, policies, err)
			}
		}
		for _, workload := range o.Workloads {
			list, err := compare(ctx, o, stages, w, workload, policies)
			results = append(results, list...)
			if err != nil {
				return results, fmt.Errorf("%s, %d policies: %w", workload, policies, err)
			}
		}
	}
	return results, nil
}

// compare every variant that has a baseline with it.
func compare(ctx context.Context, o Options, stages map[string]*stage, w netns.Wiring, workload string, policies int) ([]record.Traffic, error) {
	for _, s := range stages {
		if err := s.calibrate(o, workload); err != nil {
			return nil, fmt.Errorf("%s: %w", s.variant.name, err)
		}
	}
	ratios, values := map[string][]float64{}, map[string][]float64{}
	for pair := range o.Pairs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, v := range o.variantsOf(w) {
			if v.baseline == "" {
				continue
			}
			value, base, err := turn(stages[v.name], stages[v.baseline], workload, pair%2 == 0)
			if err != nil {
				return nil, err
			}
			ratios[v.name] = append(ratios[v.name], value/base)
			values[v.name], values[v.baseline] = append(values[v.name], value), append(values[v.baseline], base)
		}
	}
	var results []record.Traffic
	for _, v := range o.variantsOf(w) {
		r := record.Traffic{
			Workload: workload, Wiring: wiringName(w), Variant: v.name, Baseline: v.baseline, Policies: policies,
			Value: record.Median(values[v.name]), Unit: unit(workload), Ratio: 1, Low: 1, High: 1, Pairs: o.Pairs,
		}
		if v.baseline != "" {
			r.Ratio = record.Median(ratios[v.name])
			r.Low, r.High = record.MedianInterval(ratios[v.name])
		}
		results = append(results, r)
		if o.Told != nil {
			o.Told(r)
		}
	}
	return results, nil
}

func unit(workload string) string {
	if workload == OneWay {
		return "1/s"
	}
	return "us"
}

// turn is one run on each, in this order or the other.
func turn(s, baseline *stage, workload string, baselineFirst bool) (value, base float64, err error) {
	if baselineFirst {
		if base, err = baseline.run(workload); err == nil {
			value, err = s.run(workload)
		}
		return value, base, err
	}
	if value, err = s.run(workload); err == nil {
		base, err = baseline.run(workload)
	}
	return value, base, err
}

func (s *stage) run(workload string) (float64, error) {
	value, _, err := s.ends.run(workload, s.transactions[workload])
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.variant.name, err)
	}
	return value, nil
}

// calibrate warms up, and finds how many transactions fill a slice.
func (s *stage) calibrate(o Options, workload string) error {
	const tried = 2 * burst
	if s.transactions == nil {
		s.transactions = map[string]int{}
	}
	for range 2 { // the first finds neighbours, and caches cold
		_, took, err := s.ends.run(workload, tried)
		if err != nil {
			return err
		}
		s.transactions[workload] = max(32, int(float64(tried)*float64(o.Slice)/float64(took)))
	}
	return nil
}
