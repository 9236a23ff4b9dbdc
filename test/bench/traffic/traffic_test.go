// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// TestMain: the ends of a connection are processes of this same binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == PeerCommand {
		if err := Peer(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestTraffic runs the benchmark with few pairs on routed pods: traffic must
// pass under every variant. Its times are not judged.
func TestTraffic(t *testing.T) {
	node.RequireKernel(t)
	if testing.Short() {
		t.Skip("builds the agent")
	}
	o := Quick()
	o.Bin, o.Pairs, o.Slice, o.Wirings, o.Policies = node.Build(t, "../../../cmd/weir", "../../../cmd/weir-agent"), 6, 3*time.Millisecond, []netns.Wiring{netns.Routed}, []int{20}
	o.Told = func(r record.Traffic) {
		t.Logf("%-22s %-22s %4d policies %10.1f %-3s ratio %.3f (%.3f to %.3f)", r.Workload, r.Variant, r.Policies, r.Value, r.Unit, r.Ratio, r.Low, r.High)
	}
	results, notes, err := Measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(o.variantsOf(netns.Routed)) * len(o.Policies) * len(o.Workloads); len(results) != want || len(notes) == 0 {
		t.Errorf("%d results with notes %q, want %d", len(results), notes, want)
	}
}

// Two builds are compared with each other, and with little else.
func TestCompared(t *testing.T) {
	var names []string
	o := Compared("elsewhere")
	o.Bin = "here"
	for _, v := range o.variantsOf(netns.Routed) {
		names = append(names, v.name)
		if bin, want := o.binOf(v), map[bool]string{true: "elsewhere", false: "here"}[v.name == Beside]; bin != want {
			t.Errorf("%s runs the build in %s, want %s", v.name, bin, want)
		}
	}
	if want := []string{Nothing, EmptyHooks, Table, Weir, Beside}; !slices.Equal(names, want) {
		t.Errorf("variants %q, want %q", names, want)
	}
}

func TestOptions(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Options)
	}{
		{"too few pairs", func(o *Options) { o.Pairs = 5 }},
		{"no time", func(o *Options) { o.Slice = 0 }},
		{"policies that shrink", func(o *Options) { o.Policies = []int{10, 1} }},
		{"no policy", func(o *Options) { o.Policies = []int{0} }},
	} {
		o := Quick()
		row.change(&o)
		if _, _, err := Measure(t.Context(), o); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
}
