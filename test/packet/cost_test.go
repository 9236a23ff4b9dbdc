// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

const (
	costRuns   = 1_000_000
	costRounds = 7
)

// TestEstablishedCost prints what a packet of a known flow costs over an empty
// program, in ns: medians of rounds in which all programs take their turn.
// WEIR_ESTABLISHED_NS is the limit; without it nothing is slow enough to fail,
// but each run must have been counted as established.
func TestEstablishedCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds, and other load spoils it")
	}
	m := machine(t, nil)
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	w := newWorld(t, m, four())
	cases := costCases(w)
	times := make([][]float64, len(cases))
	var base []float64
	for range costRounds {
		base = append(base, w.time(empty, cases[0].frame))
		for i, c := range cases {
			times[i] = append(times[i], w.time(m.program(c.hook), c.frame))
		}
	}
	w.counted(uint64(costRounds * costRuns))
	zero := median(base)
	t.Logf("empty program: %.1f ns (%d rounds of %d runs)", zero, costRounds, costRuns)
	for i, c := range cases {
		t.Logf("%-9s %-8s %5.1f ns over it", c.hook, c.name, median(times[i])-zero)
		if limit, err := strconv.ParseFloat(os.Getenv("WEIR_ESTABLISHED_NS"), 64); err == nil && median(times[i])-zero > limit {
			t.Errorf("%s %s: more than %.1f ns", c.hook, c.name, limit)
		}
	}
}

type costCase struct {
	name  string
	hook  Hook
	frame []byte
}

// costCases begins the flows.
func costCases(w *world) []costCase {
	var cases []costCase
	for _, f := range families() {
		for _, c := range []struct {
			name         string
			first, later Packet
			back         Packet
		}{
			{f.name + " TCP", f.tcp("A:1000", "C:80", "S"), f.tcp("A:1000", "C:80", "A"), f.tcp("C:80", "A:1000", "A")},
			{f.name + " UDP", f.udp("A:1000", "C:53"), f.udp("A:1000", "C:53"), f.udp("C:53", "A:1000")},
		} {
			w.play([]step{out(c.first, "allowed rule new")})
			there, err := c.later.Frame()
			w.must(err)
			back, err := c.back.Frame()
			w.must(err)
			cases = append(cases, costCase{c.name, FromPod, there}, costCase{c.name, ToPod, back})
		}
	}
	return cases
}

// time is ns a run, in CPU time of the thread: other load does not count, and
// the kernel's own measure has no fractions.
func (w *world) time(program *ebpf.Program, frame []byte) float64 {
	w.t.Helper()
	options := &ebpf.RunOptions{Data: frame, Context: Context{Ifindex: w.m.Link(linkA)}.bytes(w.m.ingressAt), Repeat: costRuns}
	var took int64
	w.must(w.m.space.inside(func() error {
		begin := threadTime()
		returned, err := program.Run(options)
		took = threadTime() - begin
		if err == nil && returned != returnPass {
			w.t.Errorf("returned %d", int32(returned))
		}
		return err
	}))
	return float64(took) / costRuns
}

// threadTime is ns of CPU that the thread has used.
func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// counted checks that the runs were packets of known flows.
func (w *world) counted(each uint64) {
	w.t.Helper()
	now, err := w.m.totals()
	w.must(err)
	grew := grown(w.m.seen.counters, now.counters)
	sent := grew[Counter{egress, bpf.WeirReasonREASON_ESTABLISHED}].Packets
	received := grew[Counter{ingress, bpf.WeirReasonREASON_REPLY}].Packets
	if want := 4 * each; sent < want || received < want {
		w.t.Errorf("%d packets counted as established, %d as replies: want at least %d each", sent, received, want)
	}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
