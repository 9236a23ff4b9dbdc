// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/netns"
)

// Workloads. The names are words, since they are arguments of processes.
const (
	Request = "request/response"
	Connect = "connect-request-close"
	OneWay  = "one-way-UDP"
)

// Options say what is measured, and how long.
type Options struct {
	Bin string // folder of weir-agent and weir
	// Beside is the folder of another build. Set: only the two builds, the
	// baseline, empty programs and the flow table alone are compared.
	Beside    string
	Wirings   []netns.Wiring
	Policies  []int // that select both pods, growing; the last one allows the traffic
	Workloads []string
	Pairs     int
	Slice     time.Duration // of one run; a slow variant does less in it
	// Told is called with each result.
	Told func(record.Traffic)
}

// Defaults are those of the published figures. 10,000 policies are in a target
// of their own.
func Defaults() Options {
	return Options{
		Wirings: []netns.Wiring{netns.Routed, netns.Bridged}, Policies: []int{1, 10, 100, 1000, 10_000},
		Workloads: []string{Request, Connect, OneWay}, Pairs: 100, Slice: 10 * time.Millisecond,
	}
}

// Compared is for two builds: a change of the path of packets is seen from half
// a percent on, in the machine's quiet minutes. BPF_PROG_TEST_RUN hides what
// cold caches and cloned packets cost.
func Compared(beside string) Options {
	o := Defaults()
	o.Beside, o.Wirings, o.Policies, o.Pairs = beside, []netns.Wiring{netns.Routed}, []int{1}, 150
	return o
}

// Quick is for trying the benchmark.
func Quick() Options {
	o := Defaults()
	o.Policies, o.Pairs = []int{1, 100}, 10
	return o
}

// Validate reports everything that is wrong at once.
func (o Options) Validate() error {
	var errs []error
	if o.Pairs < 6 {
		errs = append(errs, fmt.Errorf("%d pairs: an interval needs at least 6", o.Pairs))
	}
	if o.Slice <= 0 {
		errs = append(errs, fmt.Errorf("runs of %v: want some milliseconds", o.Slice))
	}
	last := 0
	for _, n := range o.Policies {
		if n <= last {
			errs = append(errs, fmt.Errorf("policies %v: want numbers that grow from 1", o.Policies))
		}
		last = n
	}
	return errors.Join(errs...)
}

func wiringName(w netns.Wiring) string {
	if w == netns.Bridged {
		return "bridged"
	}
	return "routed"
}
