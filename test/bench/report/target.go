// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/test/bench/record"
)

// target is a limit of the project, and the worst that was measured for it.
type target struct {
	what, limit, measured string
	met                   bool
	floor                 string // what cannot be had for less, measured in the same run
}

func (r results) targets() []target {
	list := r.packetTargets()
	list = append(list, r.trafficTargets()...)
	list = append(list, r.controlTargets()...)
	return append(list, r.changeTargets()...)
}

func (r results) packetTargets() []target {
	var list []target
	for _, row := range []struct {
		name  string
		limit float64
	}{
		{"established, 1 flow", 35}, {"established, 10k flows", 90}, {"established, 400k flows", 450},
		{"new", 600}, {"new, evicting", 950}, {"denied first", 350}, {"denied repeat", 150},
	} {
		var worst record.Packet
		var all, floor, ruled []float64
		for _, p := range r.packets {
			switch {
			case p.Case != row.name || p.Program == forwardName:
			case p.Program == floorName:
				floor = append(floor, p.NsOverEmpty)
			case p.Program == ruledName:
				ruled = append(ruled, p.NsOverEmpty)
			default:
				all = append(all, p.NsOverEmpty)
				if p.NsOverEmpty > worst.NsOverEmpty {
					worst = p
				}
			}
		}
		if len(all) == 0 {
			continue
		}
		t := target{what: row.name, limit: fmt.Sprintf("<= %.0f ns", row.limit), met: worst.NsOverEmpty <= row.limit}
		t.measured = fmt.Sprintf("%.0f ns (%s, %s, %d rows); median of all %.0f", worst.NsOverEmpty, worst.Program, worst.Family, worst.Rows, record.Median(all))
		if len(floor) > 0 {
			t.floor = fmt.Sprintf("%.0f to %.0f ns", slices.Min(floor), slices.Max(floor))
		}
		if len(ruled) > 0 {
			t.floor += fmt.Sprintf("; with policy %.0f to %.0f ns", slices.Min(ruled), slices.Max(ruled))
		}
		list = append(list, t)
	}
	if slope, program, family := r.slope("new"); slope > 0 {
		t := target{what: "new, from the fewest to the most rows", limit: "<= +15 %", met: slope <= 1.15}
		t.measured = fmt.Sprintf("%+.0f %% (%s, %s)", 100*(slope-1), program, family)
		if floor := r.slopeOf("new", floorName, family); floor > 0 {
			t.floor = fmt.Sprintf("%+.0f %%", 100*(floor-1))
		}
		if ruled := r.slopeOf("new", ruledName, family); ruled > 0 {
			t.floor += fmt.Sprintf("; with policy %+.0f %%", 100*(ruled-1))
		}
		list = append(list, t)
	}
	return list
}

// What no target is about: of test/bench/packets the programs of its floor,
// and the hook behind translation; of test/bench/traffic what stands beside
// weir as its floor.
const (
	floorName      = "floor"
	ruledName      = "floor with policy"
	forwardName    = "forward"
	emptyHooksName = "empty TCX and hook"
	tableName      = "flow table alone"
	weirName       = "weir"
)

// slope is the greatest growth from the fewest to the most rows, and whose.
func (r results) slope(name string) (slope float64, program, family string) {
	for _, p := range distinct(r.packets, func(p record.Packet) string { return p.Program }) {
		if p == floorName || p == ruledName {
			continue
		}
		for _, f := range distinct(r.packets, func(p record.Packet) string { return p.Family }) {
			if s := r.slopeOf(name, p, f); s > slope {
				slope, program, family = s, p, f
			}
		}
	}
	return slope, program, family
}

// slopeOf is 0 if there is nothing to compare.
func (r results) slopeOf(name, program, family string) float64 {
	var list []record.Packet
	for _, p := range r.packets {
		if p.Case == name && p.Program == program && p.Family == family {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b record.Packet) int { return a.Rows - b.Rows })
	if len(list) < 2 || list[0].NsOverEmpty <= 0 {
		return 0
	}
	return list[len(list)-1].NsOverEmpty / list[0].NsOverEmpty
}

func (r results) trafficTargets() []target {
	var list []target
	for _, row := range []struct {
		workload string
		limit    float64
		most     bool // the limit is the greatest ratio, else the least
	}{{"request/response", 1.03, true}, {"connect-request-close", 1.05, true}, {"one-way-UDP", 0.95, false}} {
		var worst record.Traffic
		ratios := map[string][]float64{} // by variant
		for _, t := range r.traffic {
			if t.Workload != row.workload {
				continue
			}
			ratios[t.Variant] = append(ratios[t.Variant], t.Ratio)
			if t.Variant == weirName && (worst.Variant == "" || (t.Ratio > worst.Ratio) == row.most) {
				worst = t
			}
		}
		if worst.Variant == "" {
			continue
		}
		sign, met := ">=", worst.Ratio >= row.limit
		if row.most {
			sign, met = "<=", worst.Ratio <= row.limit
		}
		result := target{what: row.workload + ", to baseline", limit: fmt.Sprintf("%s %.2f", sign, row.limit), met: met}
		result.measured = fmt.Sprintf("%.3f (%.3f to %.3f; %s, %d policies); median of all %.3f", worst.Ratio, worst.Low, worst.High, worst.Wiring, worst.Policies, record.Median(ratios[weirName]))
		var floors []string
		for _, variant := range []string{tableName, emptyHooksName} {
			if list := ratios[variant]; len(list) > 0 {
				floors = append(floors, fmt.Sprintf("%s %.3f to %.3f, median %.3f", variant, slices.Min(list), slices.Max(list), record.Median(list)))
			}
		}
		result.floor = strings.Join(floors, "; ")
		list = append(list, result)
	}
	return list
}

func (r results) controlTargets() []target {
	var list []target
	for _, c := range r.control {
		where := fmt.Sprintf(" (%d pods, %d policies)", c.Pods, c.Policies)
		switch {
		case c.Operation == "pod added, class known" && c.Pods >= 100_000:
			list = append(list, target{what: "one pod added, class known", limit: "<= 0.1 ms, 1 write", measured: fmt.Sprintf("%.3f ms, %d writes", c.TotalMs, c.Writes) + where, met: c.TotalMs <= 0.1 && c.Writes == 1})
		case c.Operation == "full start" && c.Pods >= 100_000:
			list = append(list, target{what: "full start", limit: "<= 2 s, <= 600 MB", measured: fmt.Sprintf("%.2f s, %.0f MB", c.TotalMs/1000, c.PeakMB) + where, met: c.TotalMs <= 2000 && c.PeakMB <= 600})
		}
	}
	return list
}

// changeTargets: both directions have to meet the limit, over all rounds,
// whatever the machine did meanwhile.
func (r results) changeTargets() []target {
	const limit = 10 // ms
	t := target{what: "policy change to new verdict, p99", limit: fmt.Sprintf("<= %d ms", limit), met: true}
	var measured, floor []string
	for _, c := range r.change {
		switch c.What {
		case record.Opening, record.Shutting:
			t.met = t.met && c.All.P99Ms <= limit
			measured = append(measured, fmt.Sprintf("%s %.1f ms, p50 %.1f", c.What, c.All.P99Ms, c.All.P50Ms))
			floor = append(floor, fmt.Sprintf("%s %.1f ms in %d of %d rounds in which the machine kept its CPUs", c.What, c.Undisturbed.P99Ms, c.Undisturbed.Count, c.All.Count))
		case record.BareWork, record.WakeUp:
			floor = append(floor, fmt.Sprintf("%s %.1f ms", c.What, c.All.P99Ms))
		}
	}
	if len(measured) == 0 {
		return nil
	}
	t.measured = fmt.Sprintf("%s (%d pods, %d policies)", strings.Join(measured, "; "), r.change[0].Pods, r.change[0].Policies)
	t.floor = strings.Join(floor, "; ")
	return []target{t}
}
