// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/test/bench/record"
)

// page is REPORT.md.
func (r results) page(plots map[string]string) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nMade by `make bench-report` out of test/bench/out; not to be edited.\n")
	if targets := r.targets(); len(targets) > 0 {
		b.WriteString("\n## Targets\n\nThe worst of all programs, families, wirings, rows and policies that were measured. The floor of packets is what the kernel takes for the operations that a case cannot do without, on the same tables: the lookup of the flow, its counters or its entry, the event; no checks, and no policy, or with policy the lookups that it asks for: the spill table, the pod, the owner of its address, the class of the peer, the row of both (test/bench/floor). That of traffic is the first by programs on the pods' veths, which find or make the entry of each packet and tell of each new one, with an empty one behind translation (flow table alone), and empty programs at all hooks that weir has. That of a change of policy, all p99: the same rounds without those in which the machine stopped one of its CPUs, and what that adds to work that has nothing to do with weir.\n\n")
		var rows [][]string
		for _, t := range targets {
			rows = append(rows, []string{t.what, t.limit, t.measured, t.floor, map[bool]string{true: "yes", false: "**no**"}[t.met]})
		}
		table(&b, []string{"what", "target", "measured", "floor", "met"}, rows)
	}
	if len(r.packets) > 0 {
		r.section(&b, "Packets", record.PacketsFile, "CPU time of a packet in ns, less that of an empty program.", plots)
		packetTable(&b, r.packets)
	}
	if len(r.spread) > 0 {
		r.section(&b, "New flows to peers of all rows", record.SpreadFile, "The worst case for the caches: no two flows in a row meet one row of policy.", plots)
		packetTable(&b, r.spread)
	}
	if len(r.traffic) > 0 {
		r.section(&b, "Traffic", record.TrafficFile, "Ratio to the baseline, with its 95 % interval. Latency: less is better. Rate of one-way UDP: more is better.", plots)
		r.trafficTables(&b)
	}
	if len(r.control) > 0 {
		r.section(&b, "Control plane", record.ControlFile, "Resolve, compile, and the writes into the maps; medians in ms.", plots)
		r.controlTable(&b)
	}
	if len(r.change) > 0 {
		r.section(&b, "Policy change", record.ChangeFile, "From the rename(2) of a policy's file to the first packet that arrives (opening), and to the last one (shutting), in ms.", plots)
		r.changeTable(&b)
	}
	return b.String()
}

// section begins with what is measured, where, and the plot.
func (r results) section(b *strings.Builder, title, file, what string, plots map[string]string) {
	at := r.runs[file]
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", title, what)
	fmt.Fprintf(b, "%s, %d CPUs, %d MB, Linux %s, %s; weir %s; %s, %.0f s, load at the beginning %.2f.\n",
		at.Machine, at.CPUs, at.Memory, at.Kernel, at.Go, at.Commit, at.Began.Format("2006-01-02 15:04 MST"), at.Seconds, at.Load)
	for _, note := range at.Notes {
		fmt.Fprintf(b, "- %s\n", note)
	}
	b.WriteString("\n")
	for _, name := range plotNames(plots) {
		if plots[name] == file {
			fmt.Fprintf(b, "![%s](%s)\n\n", strings.TrimSuffix(name, ".svg"), name)
		}
	}
}

func plotNames(plots map[string]string) []string {
	var names []string
	for name := range plots {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func table(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// packetTable: a line for each case, program and family, a column for each
// number of rows.
func packetTable(b *strings.Builder, list []record.Packet) {
	type line struct{ name, program, family string }
	head := []string{"case", "program", "family"}
	counts := distinct(list, func(p record.Packet) int { return p.Rows })
	cells := map[line]map[int]string{}
	for _, p := range list {
		l := line{p.Case, p.Program, p.Family}
		if cells[l] == nil {
			cells[l] = map[int]string{}
		}
		cells[l][p.Rows] = fmt.Sprintf("%.1f", p.NsOverEmpty)
	}
	for _, n := range counts {
		head = append(head, fmt.Sprintf("%d rows", n))
	}
	lines := distinct(list, func(p record.Packet) line { return line{p.Case, p.Program, p.Family} })
	order := distinct(list, func(p record.Packet) string { return p.Case })
	slices.SortStableFunc(lines, func(x, y line) int { return slices.Index(order, x.name) - slices.Index(order, y.name) })
	var rows [][]string
	for _, l := range lines {
		row := []string{l.name, l.program, l.family}
		for _, n := range counts {
			row = append(row, cells[l][n])
		}
		rows = append(rows, row)
	}
	table(b, head, rows)
}

// trafficTables: one for each workload and wiring; a line for each variant, a
// column for each number of policies.
func (r results) trafficTables(b *strings.Builder) {
	type group struct{ workload, wiring string }
	for _, g := range distinct(r.traffic, func(t record.Traffic) group { return group{t.Workload, t.Wiring} }) {
		var list []record.Traffic
		for _, t := range r.traffic {
			if t.Workload == g.workload && t.Wiring == g.wiring {
				list = append(list, t)
			}
		}
		counts := distinct(list, func(t record.Traffic) int { return t.Policies })
		head := []string{g.workload + ", " + g.wiring}
		for _, n := range counts {
			head = append(head, fmt.Sprintf("%d policies", n))
		}
		var rows [][]string
		for _, variant := range distinct(list, func(t record.Traffic) string { return t.Variant }) {
			row := []string{variant}
			for _, t := range list {
				if t.Variant == variant {
					row = append(row, cell(t))
				}
			}
			rows = append(rows, row)
		}
		table(b, head, rows)
		b.WriteString("\n")
	}
}

// cell is the value of a baseline, or a ratio to it.
func cell(t record.Traffic) string {
	if t.Baseline == "" {
		return fmt.Sprintf("%.5g %s", t.Value, t.Unit)
	}
	return fmt.Sprintf("%.3f (%.3f to %.3f)", t.Ratio, t.Low, t.High)
}

func (r results) controlTable(b *strings.Builder) {
	var rows [][]string
	number := func(f float64) string { return fmt.Sprintf("%.3f", f) }
	for _, c := range r.control {
		memory := ""
		if c.PeakMB > 0 {
			memory = fmt.Sprintf("%.0f (objects %.0f)", c.PeakMB, c.InputMB)
		}
		rows = append(rows, []string{
			c.Operation, fmt.Sprint(c.Namespaces), fmt.Sprint(c.Pods), fmt.Sprint(c.Policies), fmt.Sprint(c.Local),
			number(c.TotalMs), number(c.ResolveMs), number(c.CompileMs), number(c.ApplyMs),
			fmt.Sprint(c.Writes), fmt.Sprint(c.Allocations), fmt.Sprintf("%.1f", float64(c.Bytes)/(1<<20)), memory,
		})
	}
	table(b, []string{"operation", "namespaces", "pods", "policies", "local pods", "total", "resolve", "compile", "apply", "map writes", "allocations", "MB allocated", "peak MB"}, rows)
}

func (r results) changeTable(b *strings.Builder) {
	var rows [][]string
	for _, c := range r.change {
		row := []string{c.What, fmt.Sprint(c.Pods), fmt.Sprint(c.Policies)}
		rows = append(rows, append(append(row, quantiles(c.All)...), quantiles(c.Undisturbed)...))
	}
	head := []string{"what", "local pods", "policies", "rounds", "p50", "p90", "p99", "max", "undisturbed", "p50", "p90", "p99", "max"}
	table(b, head, rows)
}

// quantiles are empty cells of what was not measured.
func quantiles(d record.Distribution) []string {
	if d.Count == 0 {
		return make([]string, 5)
	}
	row := []string{fmt.Sprint(d.Count)}
	for _, ms := range []float64{d.P50Ms, d.P90Ms, d.P99Ms, d.MaxMs} {
		row = append(row, fmt.Sprintf("%.2f", ms))
	}
	return row
}
