// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestGarbageIsDue(t *testing.T) {
	for _, row := range []struct {
		name string
		heap heap
		due  bool
	}{
		{"nothing since", heap{used: 20, live: 20, goal: 40}, false},
		{"less than half of the room", heap{used: 29, live: 20, goal: 40}, false},
		{"half of the room", heap{used: 30, live: 20, goal: 40}, true},
		{"a heap that was swept", heap{used: 10, live: 20, goal: 40}, false},
		{"over a memory limit, where each allocation collects", heap{used: 60, live: 50, goal: 40}, false},
		{"no goal (GOGC=off)", heap{used: 60, live: 50, goal: 1<<64 - 1}, false},
		{"not known", heap{}, false},
	} {
		if got := row.heap.isDue(); got != row.due {
			t.Errorf("%s: due is %t, want %t", row.name, got, row.due)
		}
	}
}

// What the runtime tells is what isDue takes it for.
func TestReadHeap(t *testing.T) {
	runtime.GC()
	before := readHeap()
	ballast := make([]byte, 64<<20)
	after := readHeap()
	runtime.KeepAlive(ballast)
	if before.live == 0 || before.goal <= before.live || after.used < before.used+64<<20 {
		t.Errorf("before %+v, with 64 MB more %+v", before, after)
	}
}

func TestGarbageMoments(t *testing.T) {
	collected := make(chan struct{})
	state := heap{used: 40, live: 20, goal: 40}
	g := newGarbage()
	g.heap, g.collect = func() heap { return state }, func() { collected <- struct{}{} }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 3 { // nobody listens yet, and nobody is kept waiting
		g.moment()
	}
	go func() { ended <- g.run(ctx) }()
	select {
	case <-collected:
	case <-time.After(10 * time.Second):
		t.Fatal("a moment came, and nothing was collected in 10 s")
	}
	state = heap{used: 21, live: 20, goal: 40}
	g.moment()
	for len(g.moments) > 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	select {
	case <-collected:
		t.Error("collected what was not due")
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	}
}
