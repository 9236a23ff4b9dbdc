// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/bench/rig"
)

// Names of the operations.
const (
	FullStart           = "full start"
	PodAdded            = "pod added, class known"
	PodRemoved          = "pod removed"
	PodRelabelled       = "pod relabelled"
	PolicyChanged       = "policy changed"
	NamespaceRelabelled = "namespace of many pods relabelled"
)

// Options say what is measured, and how often.
type Options struct {
	Shapes []Shape
	Starts int // full starts of each shape
	Rounds int // of each change
	// Told is called with each result.
	Told func(record.Control)
}

// Defaults are those of the published figures.
func Defaults() Options { return Options{Shapes: Shapes(), Starts: 5, Rounds: 15} }

// Quick takes some seconds.
func Quick() Options {
	shapes := Shapes()[:2]
	for i := range shapes {
		shapes[i].Local = 10 // veths take long to make
	}
	return Options{Shapes: shapes, Starts: 1, Rounds: 5}
}

func sizes() datapath.Sizes {
	return datapath.Sizes{Rows: 1 << 19, Peers: 1 << 18, Flows: 1 << 17, Spill: 1 << 15, Ring: 1 << 20}
}

// Measure takes all operations on all shapes. When ctx ends it stops behind the
// operation under way, and removes what it made.
func Measure(ctx context.Context, o Options) ([]record.Control, error) {
	var all []record.Control
	for _, s := range o.Shapes {
		results, err := measureShape(ctx, o, s)
		all = append(all, results...)
		if err != nil {
			return all, fmt.Errorf("%d pods, %d policies: %w", s.Pods, s.Policies, err)
		}
	}
	return all, nil
}

// run is a shape that is being measured.
type run struct {
	Options
	shape   Shape
	rig     *rig.Rig
	results []record.Control
}

func measureShape(ctx context.Context, o Options, s Shape) (results []record.Control, err error) {
	r := &run{Options: o, shape: s}
	if r.rig, err = rig.New("wbc", sizes(), uint32(s.Local)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.rig.Close()) }()
	for i := range s.Pods {
		if p := s.pod(i); p.Node == rig.Node {
			if _, err := r.rig.AddPod(p); err != nil {
				return nil, err
			}
		}
	}
	if err := r.starts(ctx); err != nil {
		return r.results, fmt.Errorf("%s: %w", FullStart, err)
	}
	known, err := r.known()
	if err != nil {
		return r.results, err
	}
	for _, c := range s.changes(known) {
		if err := ctx.Err(); err != nil {
			return r.results, err
		}
		if err := r.change(c); err != nil {
			return r.results, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r.results, nil
}

// known is a pod elsewhere whose class it shares with others, and loses when it
// is relabelled: monitoring names its app.
func (r *run) known() (*policy.Pod, error) {
	for i := r.shape.Big; i < r.shape.Pods; i++ {
		p := r.shape.pod(i)
		if p.Node != rig.Node && p.Labels["app"] == monitored && r.rig.Engine.Class(p.IPs[0]) != 0 {
			return p, nil
		}
	}
	return nil, errors.New("no pod elsewhere is a peer of this node's policies")
}

// starts measures full starts, each with everything as on a new node.
func (r *run) starts(ctx context.Context) error {
	var m measurement
	var peaks []float64
	var input float64
	for range r.Starts {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.rig.Engine, r.rig.Compiler = nil, nil
		debug.FreeOSMemory()
		floor := heap()
		if err := errors.Join(r.rig.Reset(), forgetPeak()); err != nil {
			return err
		}
		batch := r.shape.batch()
		input = heap() - floor
		if err := m.take(func() (*compile.Update, rig.Cost, error) { return r.rig.Change(batch) }); err != nil {
			return err
		}
		peak, err := peakMemory()
		if err != nil {
			return err
		}
		peaks = append(peaks, peak)
		if err := r.rig.Finish(); err != nil {
			return err
		}
		runtime.KeepAlive(batch)
	}
	result := r.result(FullStart, m)
	result.PeakMB, result.InputMB = record.Median(peaks), input
	r.tell(result)
	return nil
}

// change measures one change. What undoes it is not counted.
func (r *run) change(c change) error {
	var m measurement
	for range r.Rounds {
		if err := m.take(func() (*compile.Update, rig.Cost, error) { return r.rig.Change(c.do) }); err != nil {
			return err
		}
		if err := r.rig.Collect(); err != nil {
			return err
		}
		if _, _, err := r.rig.Change(c.undo); err != nil {
			return err
		}
		if err := r.rig.Collect(); err != nil {
			return err
		}
	}
	r.tell(r.result(c.name, m))
	return nil
}

func (r *run) tell(result record.Control) {
	r.results = append(r.results, result)
	if r.Told != nil {
		r.Told(result)
	}
}

// measurement is one operation, some times.
type measurement struct {
	costs              []rig.Cost
	update             *compile.Update // the last
	allocations, bytes []uint64
}

func (m *measurement) take(f func() (*compile.Update, rig.Cost, error)) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	update, cost, err := f()
	runtime.ReadMemStats(&after)
	m.update, m.costs = update, append(m.costs, cost)
	m.allocations = append(m.allocations, after.Mallocs-before.Mallocs)
	m.bytes = append(m.bytes, after.TotalAlloc-before.TotalAlloc)
	return err
}

func (r *run) result(operation string, m measurement) record.Control {
	median := func(part func(rig.Cost) time.Duration) float64 {
		var list []time.Duration
		for _, c := range m.costs {
			list = append(list, part(c))
		}
		return float64(record.Median(list).Nanoseconds()) / 1e6
	}
	s, u := r.shape, m.update
	return record.Control{
		Operation: operation, Namespaces: s.Namespaces, Pods: s.Pods, Policies: s.Policies, Local: s.Local,
		TotalMs: median(rig.Cost.Total), Rounds: len(m.costs),
		ResolveMs: median(func(c rig.Cost) time.Duration { return c.Resolve }),
		CompileMs: median(func(c rig.Cost) time.Duration { return c.Compile }),
		ApplyMs:   median(func(c rig.Cost) time.Duration { return c.Apply }),
		Writes:    writes(u), Peers: len(u.Peers) + len(u.GonePeers), Rows: len(u.Rows),
		Allocations: record.Median(m.allocations), Bytes: record.Median(m.bytes),
	}
}

// writes that an update asks for: entries put and deleted, and the epoch.
func writes(u *compile.Update) int {
	n := len(u.Rows) + len(u.Peers) + len(u.Prefixes) + len(u.Subjects)
	n += len(u.GoneSubjects) + len(u.GonePeers) + len(u.GonePrefixes) + len(u.GoneRows)
	if u.MoveEpoch || len(u.Subjects) > 0 {
		n++
	}
	return n
}

// heap in use, in MB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// forgetPeak makes the kernel forget the most memory that the process had
// (proc_pid_clear_refs(5), 5).
func forgetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory is the most memory that the process has had since, in MB.
func peakMemory() (float64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb float64
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %f kB", &kb); err == nil {
			return kb / 1024, nil
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}

// Notes for the readers of the results.
func Notes() []string {
	return []string{
		"From the changed objects in memory to the last write: reading files or the API server, and the pods' veths, are not in it.",
		"Each namespace has its policies for all its pods; the peak is that of the process, objects included, kernel memory of the maps not.",
	}
}
