// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"os"
)

// Options of a Machine. The first group are the constants of
// bpf/src/config.h; the second the sizes of its maps.
type Options struct {
	TicksPerSecond  uint32 // the programs' unit of time; ages in Machine.Age use it
	Recheck         bool   // judge live flows again in a new epoch
	MidstreamStrict bool
	SourceCheck     bool
	ForwardHook     bool
	Conntrack       bool   // bpf.ConntrackLookup must have returned nil
	EventRate       uint32 // of one endpoint and ring in a second; 0: as the object has it

	Flows     uint32 // entries of flows
	Spill     uint32 // entries of flows_spill
	RingBytes uint32 // of each ring; a power of two, at least a page
	Links     int    // pairs of veths
}

// Defaults are the agent's own defaults, with small maps and three links.
func Defaults() Options {
	return Options{
		TicksPerSecond: 250, Recheck: true, SourceCheck: true,
		Flows: 4096, Spill: 1024, RingBytes: 1 << 16, Links: 3,
	}
}

// Validate reports everything that is wrong at once.
func (o Options) Validate() error {
	var errs []error
	if o.TicksPerSecond == 0 {
		errs = append(errs, errors.New("TicksPerSecond is 0: give the kernel's HZ"))
	}
	if o.Flows == 0 || o.Spill == 0 {
		errs = append(errs, fmt.Errorf("flows %d, spill %d: both need at least one entry", o.Flows, o.Spill))
	}
	if size := o.RingBytes; size < uint32(os.Getpagesize()) || size&(size-1) != 0 {
		errs = append(errs, fmt.Errorf("ring of %d bytes: give a power of two of at least %d", size, os.Getpagesize()))
	}
	if o.Links < 1 {
		errs = append(errs, fmt.Errorf("%d links: at least one is needed", o.Links))
	}
	return errors.Join(errs...)
}
