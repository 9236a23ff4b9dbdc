// SPDX-License-Identifier: Apache-2.0

package control

import (
	"testing"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/node"
)

// TestControl is the quick form of the benchmark. No time fails it; a pod that
// comes must be one write for its one address, however large the cluster is.
func TestControl(t *testing.T) {
	node.RequireKernel(t)
	if testing.Short() {
		t.Skip("takes seconds")
	}
	o := Quick()
	o.Told = func(r record.Control) {
		t.Logf("%-34s %6d pods %5d policies: %9.3f ms (resolve %.3f, compile %.3f, apply %.3f), %d writes, %d peers, %d allocations, peak %.0f MB",
			r.Operation, r.Pods, r.Policies, r.TotalMs, r.ResolveMs, r.CompileMs, r.ApplyMs, r.Writes, r.Peers, r.Allocations, r.PeakMB)
	}
	results, err := Measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(o.Shapes) * 6; len(results) != want {
		t.Errorf("%d results, want %d", len(results), want)
	}
	for _, r := range results {
		touched := map[string]int{PodAdded: 1, PodRemoved: 1, PodRelabelled: 1, NamespaceRelabelled: o.Shapes[0].Big}[r.Operation]
		if r.Pods == o.Shapes[1].Pods && r.Operation == NamespaceRelabelled {
			touched = o.Shapes[1].Big
		}
		if touched > 0 && r.Peers != touched {
			t.Errorf("%s, %d pods: %d writes of peers, want %d", r.Operation, r.Pods, r.Peers, touched)
		}
		if r.Operation == PodAdded && r.Writes != 1 {
			t.Errorf("%s, %d pods: %d writes, want 1", r.Operation, r.Pods, r.Writes)
		}
	}
}
