// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"testing"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/node"
)

// TestPackets is the quick form of the benchmark. No time fails it: each case
// must be what it says, by counters and events.
func TestPackets(t *testing.T) {
	node.RequireKernel(t)
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	o := Quick()
	o.Told = func(r record.Packet) {
		t.Logf("%-17s %-24s %s %6d rows %8.1f ns over empty", r.Program, r.Case, r.Family, r.Rows, r.NsOverEmpty)
	}
	for family, rows := range map[string][]int{"IPv4": {1, 10_000}, "IPv6": {10_000}} {
		o.Families, o.Rows = []string{family}, rows
		results, err := Measure(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(rows) * (7*3 + 3 + 1); len(results) != want {
			t.Errorf("%d results, want %d", len(results), want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Options)
	}{
		{"too few rounds", func(o *Options) { o.Rounds = 4 }},
		{"more new flows than the ring has room for", func(o *Options) { o.RunsNew = maxNew + 1 }},
		{"no pass", func(o *Options) { o.Passes = 0 }},
		{"no row", func(o *Options) { o.Rows = []int{0} }},
		{"unknown family", func(o *Options) { o.Families = []string{"IPX"} }},
	} {
		o := Quick()
		row.change(&o)
		if _, err := Measure(t.Context(), o); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
}
