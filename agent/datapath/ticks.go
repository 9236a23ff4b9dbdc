// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// ticker reads the clock of the programs, jiffies64, beside the monotonic
// one, by a program of its own that is attached to nothing.
type ticker struct {
	program *ebpf.Program
	reading *ebpf.Map
	rate    uint32 // ticks per second; 0 until measured
}

// reading of both clocks at one instant.
type reading struct {
	Jiffies uint64
	Nanos   uint64 // CLOCK_MONOTONIC
}

func newTicker() (*ticker, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "weir_clock", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make the clock's map: %w", err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weir_clock", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: clockProgram(m.FD()),
	})
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("load the clock's program: %w", err)
	}
	return &ticker{program: p, reading: m}, nil
}

func clockProgram(fd int) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, fd),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.FnJiffies64.Call(),
		asm.StoreMem(asm.R6, 0, asm.R0, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	}
}

func (t *ticker) read() (reading, error) {
	var r reading
	if _, err := t.program.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		return r, fmt.Errorf("run the clock's program: %w", err)
	}
	if err := t.reading.Lookup(uint32(0), &r); err != nil {
		return r, fmt.Errorf("read the clock: %w", err)
	}
	return r, nil
}

func (t *ticker) close() error {
	return errors.Join(t.program.Close(), t.reading.Close())
}

// measure takes the rate from the resolution of the coarse clocks, which is
// exactly one tick, and makes sure of it by counting. Counting alone does not
// tell 250 from 256: on a loaded virtual machine jiffies were seen to be 10 ms
// late.
func (t *ticker) measure() error {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil {
		return fmt.Errorf("read the kernel's tick: %w", err)
	}
	rate := uint32(math.Round(1e9 / float64(max(1, resolution.Nano()))))
	var seen []float64
	for span := shortestSpan; span <= longestSpan; span *= 2 {
		counted, err := t.count(span)
		if err != nil {
			return err
		}
		if math.Abs(counted-float64(rate)) <= 0.1*float64(rate) {
			t.rate = rate
			return nil
		}
		seen = append(seen, counted)
	}
	return fmt.Errorf("the kernel's clocks say %d ticks per second, and %.1f were counted: flows would expire at the wrong time", rate, seen)
}

// Counting goes on for longer until it agrees.
const (
	shortestSpan = 25 * time.Millisecond
	longestSpan  = 1600 * time.Millisecond
)

// count is the rate between two changes of jiffies, span or more apart.
func (t *ticker) count(span time.Duration) (float64, error) {
	first, err := t.edge()
	if err != nil {
		return 0, err
	}
	time.Sleep(span)
	second, err := t.edge()
	if err != nil {
		return 0, err
	}
	return float64(second.Jiffies-first.Jiffies) / (float64(second.Nanos-first.Nanos) / 1e9), nil
}

// edge waits for the next change of jiffies.
func (t *ticker) edge() (reading, error) {
	start, err := t.read()
	if err != nil {
		return start, err
	}
	for {
		now, err := t.read()
		if err != nil || now.Jiffies != start.Jiffies {
			return now, err
		}
		if now.Nanos-start.Nanos > uint64(time.Second) {
			return now, errors.New("measure the kernel's tick: jiffies stood still for a second")
		}
	}
}

// Clock relates ticks, the low 32 bits of jiffies64 that flow entries carry,
// to the monotonic clock at one instant.
type Clock struct {
	Ticks     uint32
	Nanos     uint64 // CLOCK_MONOTONIC, as in bpf.WeirEvent.Time
	PerSecond uint32
}

// Age is how long ago a tick of the past 24 days was.
func (c Clock) Age(ticks uint32) time.Duration {
	past := max(0, int32(c.Ticks-ticks))
	return time.Duration(past) * time.Second / time.Duration(max(1, c.PerSecond))
}

// Clock reads the programs' clock.
func (d *Datapath) Clock() (Clock, error) {
	r, err := d.ticker.read()
	return Clock{Ticks: uint32(r.Jiffies), Nanos: r.Nanos, PerSecond: d.ticker.rate}, err
}
