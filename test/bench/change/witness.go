// SPDX-License-Identifier: Apache-2.0

package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// WitnessCommand is the argument by which a program that measures is to call
// Witness instead.
const WitnessCommand = "change-witness"

const (
	// period of a witness: it sees no less than what the machine takes away
	// for longer.
	period = 500 * time.Microsecond
	// tardy wake-ups disturb what happens at the time.
	tardy = time.Millisecond
	// bin of the lateness, and how far the bins reach.
	bin     = 10 * time.Microsecond
	bins    = 20_000
	tardies = 1 << 16
)

// testimony is what a process of witnesses leaves.
type testimony struct {
	Lateness []uint32 // wake-ups of all CPUs, by bin; the last holds what is later
	Max      time.Duration
	Late     []span // tardy ones: from when they were due to when they came
	Lost     int    // tardy ones without room in Late
}

// Witness is the main function of the witnesses' process: a thread of real-time
// priority on each CPU until the end of stdin, then the testimony on stdout.
// The process has nothing else to do, and no garbage is collected in it. Four
// busy loops on two CPUs made no more wake-ups late: the sum of the lateness
// goes with the time that the host takes (steal), not with load.
func Witness() error {
	debug.SetGCPercent(-1)
	cpus, err := allowedCPUs()
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(len(cpus) + 2) // a witness keeps its own even when it sleeps
	var stop atomic.Bool
	started, ended := make(chan error), make(chan *testimony)
	for _, cpu := range cpus {
		go witness(cpu, &stop, started, ended)
	}
	for range cpus {
		err = errors.Join(err, <-started)
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	stop.Store(true)
	all := newTestimony()
	for range cpus {
		all.add(<-ended)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(all))
}

func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("witness: CPUs of this process: %w", err)
	}
	var list []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// witness keeps its thread, which ends with it.
func witness(cpu int, stop *atomic.Bool, started chan<- error, ended chan<- *testimony) {
	runtime.LockOSThread()
	err := becomeRealTime(cpu)
	started <- err
	if err != nil {
		return
	}
	t := newTestimony()
	t.watch(stop)
	ended <- t
}

func becomeRealTime(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("witness: move to CPU %d: %w", cpu, err)
	}
	attr := unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("witness: SCHED_FIFO: %w; run as root, in a cgroup that has real-time runtime", err)
	}
	return nil
}

func newTestimony() *testimony {
	return &testimony{Lateness: make([]uint32, bins), Late: make([]span, 0, tardies)}
}

// watch must not call what may yield to the Go scheduler.
//
//go:nosplit
func (t *testimony) watch(stop *atomic.Bool) {
	due := now() + period
	for !stop.Load() {
		sleepUntil(due)
		woke := now()
		t.note(due, woke)
		due = woke + period
	}
}

//go:nosplit
func (t *testimony) note(due, woke time.Duration) {
	late := max(0, woke-due)
	t.Lateness[min(bins-1, late/bin)]++
	t.Max = max(t.Max, late)
	if late <= tardy {
		return
	}
	if len(t.Late) == cap(t.Late) {
		t.Lost++
		return
	}
	t.Late = t.Late[:len(t.Late)+1]
	t.Late[len(t.Late)-1] = span{due, woke}
}

// add that of another CPU.
func (t *testimony) add(other *testimony) {
	for i, n := range other.Lateness {
		t.Lateness[i] += n
	}
	t.Max = max(t.Max, other.Max)
	t.Late = append(t.Late, other.Late...)
	t.Lost += other.Lost
}
