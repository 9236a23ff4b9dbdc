// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

func newStore(t testing.TB, capacity int) *Store {
	t.Helper()
	s, err := NewStore(capacity)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fill(s *Store, n int) {
	for range n {
		s.Add(&Flow{Protocol: policy.TCP})
	}
}

// sequences of flows as text: "3-7" where they follow each other, "" for none.
func sequences(t *testing.T, flows []*Flow) string {
	t.Helper()
	if len(flows) == 0 {
		return ""
	}
	for i, f := range flows {
		if f.Sequence != flows[0].Sequence+uint64(i) {
			t.Fatalf("flow %d has sequence %d, the first has %d", i, f.Sequence, flows[0].Sequence)
		}
	}
	return fmt.Sprintf("%d-%d", flows[0].Sequence, flows[len(flows)-1].Sequence)
}

func TestRead(t *testing.T) {
	const capacity = 1024
	for _, row := range []struct {
		name   string
		added  int
		after  uint64
		length int
		until  uint64
		read   string
		done   bool
		missed uint64
		cursor uint64
	}{
		{"empty", 0, 0, 10, 0, "", true, 0, 0},
		{"all", 5, 0, 10, 0, "1-5", true, 0, 5},
		{"a part", 5, 0, 3, 0, "1-3", false, 0, 3},
		{"exactly all", 5, 0, 5, 0, "1-5", false, 0, 5},
		{"exactly all, with an end", 5, 0, 5, 5, "1-5", true, 0, 5},
		{"after the third", 5, 3, 10, 0, "4-5", true, 0, 5},
		{"only what comes", 5, 5, 10, 0, "", true, 0, 5},
		{"after the future", 5, 9, 10, 0, "", true, 0, 5},
		{"with an end", 5, 0, 10, 3, "1-3", true, 0, 3},
		{"full", capacity, 0, 2000, 0, "1-1024", true, 0, 1024},
		{"more than a chunk", 1000, 0, 2000, 0, "1-1000", true, 0, 1000},
		{"overtaken by one", capacity + 1, 0, 2000, 0, "2-1025", true, 1, 1025},
		{"overtaken twice round", 3 * capacity, 10, 2000, 0, "2049-3072", true, 2038, 3072},
		{"overtaken beyond its end", 3 * capacity, 0, 2000, 100, "", true, 2048, 2048},
	} {
		s := newStore(t, capacity)
		fill(s, row.added)
		r := s.Subscribe(nil, row.after)
		flows, done := r.Read(nil, row.length, row.until)
		// An exact fit cannot know that nothing is left; the next read tells.
		if got := sequences(t, flows); got != row.read || done != row.done {
			t.Errorf("%s: read %q, done %v; want %q, %v", row.name, got, done, row.read, row.done)
		}
		if r.Missed() != row.missed || r.Cursor() != row.cursor {
			t.Errorf("%s: missed %d, cursor %d; want %d, %d", row.name, r.Missed(), r.Cursor(), row.missed, row.cursor)
		}
		r.Close()
		r.Close()
		if n := s.Subscribers(); n != 0 {
			t.Errorf("%s: %d subscribers are left", row.name, n)
		}
	}
}

func TestReadAppliesTheFilter(t *testing.T) {
	s := newStore(t, MinCapacity)
	for i := range 100 {
		s.Add(&Flow{Protocol: policy.Protocol(i % 10)})
	}
	f, err := Compile(Query{Filter: FilterSpec{Protocols: []uint32{3}}})
	if err != nil {
		t.Fatal(err)
	}
	flows, done := s.Subscribe(f, 0).Read(nil, 100, 0)
	if len(flows) != 10 || !done {
		t.Fatalf("%d flows, done %v", len(flows), done)
	}
	for _, flow := range flows {
		if flow.Protocol != 3 {
			t.Errorf("flow %d has protocol %d", flow.Sequence, flow.Protocol)
		}
	}
}

func TestLastMatching(t *testing.T) {
	s := newStore(t, MinCapacity)
	for i := range MinCapacity + 100 {
		s.Add(&Flow{Protocol: policy.Protocol(i % 2)}) // odd sequences have 0
	}
	even, _ := Compile(Query{Filter: FilterSpec{Protocols: []uint32{1}}})
	nobody, _ := Compile(Query{Filter: FilterSpec{Protocols: []uint32{9}}})
	for _, row := range []struct {
		name   string
		filter *Filter
		n      int
		after  uint64
	}{
		{"none", nil, 0, 1124},
		{"one", nil, 1, 1123},
		{"all", nil, 1024, 100},
		{"more than there are", nil, 5000, 100},
		{"two of a filter", even, 2, 1121},
		{"more of a filter than there are", even, 5000, 101},
		{"a filter that nothing passes", nobody, 3, 1124},
	} {
		if after := s.LastMatching(row.filter, row.n); after != row.after {
			t.Errorf("%s: after %d, want %d", row.name, after, row.after)
		}
	}
	if after := newStore(t, MinCapacity).LastMatching(nil, 5); after != 0 {
		t.Errorf("an empty store: after %d", after)
	}
}

func TestReady(t *testing.T) {
	s := newStore(t, MinCapacity)
	a, b := s.Subscribe(nil, 0), s.Subscribe(nil, 0)
	ready := a.Ready()
	select {
	case <-ready:
		t.Fatal("an empty store is ready")
	default:
	}
	if b.Ready() != ready {
		t.Error("two readers wait on two channels")
	}
	fill(s, 1)
	for _, c := range []<-chan struct{}{ready, a.Ready()} {
		select {
		case <-c:
		default:
			t.Fatal("not ready with a flow there")
		}
	}
	a.Read(nil, 10, 0)
	select {
	case <-a.Ready():
		t.Fatal("ready with nothing left")
	default:
	}
}

// Nobody waits most of the time: then a flow costs no channel.
func TestAddAllocatesNothing(t *testing.T) {
	s, f := newStore(t, MinCapacity), &Flow{}
	_ = s.Subscribe(nil, 0).Ready()
	s.Add(f)
	if n := testing.AllocsPerRun(100, func() { s.Add(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCapacityIsBounded(t *testing.T) {
	for _, n := range []int{-1, 0, MinCapacity - 1, MaxCapacity + 1} {
		if _, err := NewStore(n); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Errorf("capacity %d: error %v", n, err)
		}
	}
}

// One writer, readers of several speeds: each reader sees each flow once and
// in order, or counts it as missed; the writer never waits for one that does
// not read at all.
func TestReadersAndWriter(t *testing.T) {
	const total = 50_000
	s := newStore(t, MinCapacity)
	idle := s.Subscribe(nil, 0)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := s.Subscribe(nil, 0)
			defer r.Close()
			if err := followTo(r, total, 1+i*97, i%2 == 1); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		}()
	}
	fill(s, total)
	wg.Wait()
	flows, _ := idle.Read(nil, 2*MinCapacity, 0)
	if len(flows) != MinCapacity || idle.Missed() != total-MinCapacity {
		t.Errorf("the idle reader: %d flows, %d missed", len(flows), idle.Missed())
	}
	idle.Close()
	if n := s.Subscribers(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

// followTo reads up to sequence total and accounts for every flow.
func followTo(r *Subscription, total uint64, batch int, slow bool) error {
	deadline := time.After(time.Minute)
	var next, read uint64 = 1, 0
	for r.Cursor() < total {
		select {
		case <-r.Ready():
		case <-deadline:
			return fmt.Errorf("not through at %d", r.Cursor())
		}
		if slow {
			runtime.Gosched()
		}
		flows, _ := r.Read(nil, batch, 0)
		for _, f := range flows {
			if f.Sequence < next {
				return fmt.Errorf("flow %d came after %d", f.Sequence, next-1)
			}
			next = f.Sequence + 1
			read++
		}
	}
	if read+r.Missed() != total {
		return fmt.Errorf("%d read and %d missed of %d", read, r.Missed(), total)
	}
	return nil
}

// BenchmarkStoreMemory measures what a store of the default capacity holds
// once it is full of enriched flows (bytes a flow, and MiB in all; the pods
// and rules that flows share are not counted).
func BenchmarkStoreMemory(b *testing.B) {
	e := newEnricher(b, &names{})
	ev := event()
	for b.Loop() {
		before := heap()
		s := newStore(b, DefaultCapacity)
		for range DefaultCapacity {
			e.options.Nearest = nil
			s.Add(e.Flow(ev))
		}
		used := heap() - before
		runtime.KeepAlive(s)
		b.ReportMetric(float64(used)/DefaultCapacity, "B/flow")
		b.ReportMetric(float64(used)/(1<<20), "MiB/store")
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkAdd(b *testing.B) {
	s := newStore(b, DefaultCapacity)
	f := &Flow{}
	b.ReportAllocs()
	for b.Loop() {
		s.Add(f)
	}
}
