// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirnet/weir/test/bench/record"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReport(t *testing.T) {
	out, page := t.TempDir(), t.TempDir()
	write(t, out, record.RunsFile, `{"packets.json": {"machine": "an abacus", "kernel": "6.18", "commit": "abc123", "notes": ["a note"]}}`)
	write(t, out, record.PacketsFile, `[
		{"program": "from_pod", "case": "new", "family": "IPv4", "rows": 1, "ns_over_empty": 500, "rounds": 5},
		{"program": "floor", "case": "new", "family": "IPv4", "rows": 1, "ns_over_empty": 300, "rounds": 5},
		{"program": "floor", "case": "new", "family": "IPv4", "rows": 60000, "ns_over_empty": 900, "rounds": 5},
		{"program": "floor with policy", "case": "new", "family": "IPv4", "rows": 1, "ns_over_empty": 2000, "rounds": 5},
		{"program": "floor with policy", "case": "new", "family": "IPv4", "rows": 60000, "ns_over_empty": 2200, "rounds": 5},
		{"program": "from_pod", "case": "new", "family": "IPv4", "rows": 60000, "ns_over_empty": 700.5, "rounds": 5}]`)
	write(t, out, record.TrafficFile, `[
		{"workload": "request/response", "wiring": "routed", "variant": "weir", "baseline": "nothing", "policies": 1, "unit": "us", "ratio": 1.08, "low": 1.07, "high": 1.09},
		{"workload": "request/response", "wiring": "routed", "variant": "empty TCX and hook", "baseline": "nothing", "policies": 1, "unit": "us", "ratio": 1.04, "low": 1.03, "high": 1.05},
		{"workload": "request/response", "wiring": "bridged", "variant": "weir", "baseline": "nothing", "policies": 1, "unit": "us", "ratio": 1.07, "low": 1.06, "high": 1.08},
		{"workload": "request/response", "wiring": "routed", "variant": "flow table alone", "baseline": "nothing", "policies": 1, "unit": "us", "ratio": 1.06, "low": 1.05, "high": 1.07},
		{"workload": "request/response", "wiring": "bridged", "variant": "flow table alone", "baseline": "nothing", "policies": 1, "unit": "us", "ratio": 1.05, "low": 1.04, "high": 1.06}]`)
	write(t, out, record.ChangeFile, `[
		{"what": "opening", "pods": 250, "policies": 1000, "all": {"count": 300, "p50_ms": 5, "p90_ms": 8, "p99_ms": 9.5, "max_ms": 50}, "undisturbed": {"count": 290, "p50_ms": 5, "p90_ms": 7, "p99_ms": 8.25, "max_ms": 9}},
		{"what": "shutting", "pods": 250, "policies": 1000, "all": {"count": 300, "p50_ms": 6, "p90_ms": 8, "p99_ms": 30, "max_ms": 50}, "undisturbed": {"count": 280, "p50_ms": 6, "p90_ms": 7, "p99_ms": 8, "max_ms": 9}},
		{"what": "bare work of 5 ms", "pods": 250, "policies": 1000, "all": {"count": 300, "p50_ms": 5, "p90_ms": 6, "p99_ms": 20, "max_ms": 30}},
		{"what": "shutting, what the agent calls applying", "pods": 250, "policies": 1000, "all": {"count": 300, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3, "max_ms": 4}}]`)
	if err := report(out, page); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(page, "REPORT.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"an abacus", "abc123", "- a note", "(packets.svg)",
		"| new | <= 600 ns | 700 ns (from_pod, IPv4, 60000 rows); median of all 700 | 300 to 900 ns; with policy 2000 to 2200 ns | **no** |",
		"| new, from the fewest to the most rows | <= +15 % | +40 % (from_pod, IPv4) | +200 %; with policy +10 % | **no** |",
		"| request/response, to baseline | <= 1.03 | 1.080 (1.070 to 1.090; routed, 1 policies); median of all 1.080 | flow table alone 1.050 to 1.060, median 1.060; empty TCX and hook 1.040 to 1.040, median 1.040 | **no** |",
		"| new | from_pod | IPv4 | 500.0 | 700.5 |",
		"| policy change to new verdict, p99 | <= 10 ms | opening 9.5 ms, p50 5.0; shutting 30.0 ms, p50 6.0 (250 pods, 1000 policies) | opening 8.2 ms in 290 of 300 rounds in which the machine kept its CPUs; shutting 8.0 ms in 280 of 300 rounds in which the machine kept its CPUs; bare work of 5 ms 20.0 ms | **no** |",
		"| shutting | 250 | 1000 | 300 | 6.00 | 8.00 | 30.00 | 50.00 | 280 | 6.00 | 7.00 | 8.00 | 9.00 |",
		"| shutting, what the agent calls applying | 250 | 1000 | 300 | 1.00 | 2.00 | 3.00 | 4.00 |  |  |  |  |  |",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("REPORT.md has no %q:\n%s", want, raw)
		}
	}
	plot, err := os.ReadFile(filepath.Join(page, "packets.svg"))
	if err != nil || !strings.Contains(string(plot), "<svg") {
		t.Errorf("packets.svg: %v, %.40q", err, plot)
	}
}

func TestBadResults(t *testing.T) {
	for _, row := range []struct{ name, content, want string }{
		{"nothing", "", "run make bench-packets"},
		{"unknown field", `[{"program": "from_pod", "color": "red"}]`, "color"},
		{"cut off", `[{"program": "from`, record.PacketsFile},
	} {
		out := t.TempDir()
		if row.content != "" {
			write(t, out, record.PacketsFile, row.content)
		}
		if err := report(out, t.TempDir()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want an error with %q", row.name, err, row.want)
		}
	}
}
