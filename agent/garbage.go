// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"runtime"
	runtimemetrics "runtime/metrics"
)

// garbage has Go's collector run at a moment in which nothing waits for the
// agent. By itself it runs when the heap has grown to twice of what is alive,
// so mostly in the midst of what makes it grow: a change of a policy that meets
// it on a node with two CPUs takes twice its time (test/bench/change).
type garbage struct {
	moments chan struct{}
	heap    func() heap
	collect func()
}

func newGarbage() garbage {
	return garbage{moments: make(chan struct{}, 1), heap: readHeap, collect: runtime.GC}
}

// moment says that nothing waits now. It does not wait itself.
func (g garbage) moment() {
	select {
	case g.moments <- struct{}{}:
	default:
	}
}

// run until ctx ends.
func (g garbage) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.moments:
			if g.heap().isDue() {
				g.collect()
			}
		}
	}
}

// heap is in bytes.
type heap struct {
	used uint64 // alive or not
	live uint64 // of it, when the collector last ran
	goal uint64 // the collector runs to stay below this
}

func readHeap() heap {
	samples := []runtimemetrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"},
	}
	runtimemetrics.Read(samples)
	return heap{used: samples[0].Value.Uint64(), live: samples[1].Value.Uint64(), goal: samples[2].Value.Uint64()}
}

// isDue: half of the room between what was alive and the goal is used. The
// collector begins by itself between 0.7 and 0.95 of it.
func (h heap) isDue() bool {
	return h.goal > h.live && h.used > h.live && h.used-h.live >= (h.goal-h.live)/2
}
