// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"errors"
	"fmt"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/test/bench/record"
)

// Options say what is measured, and how long.
type Options struct {
	Rows     []int // of policy, each a stage of its own
	Families []string
	Rounds   int // of each pass, at least five
	// Passes over all stages: a machine that others share has slow minutes, and
	// the median is of the rounds of all passes.
	Passes int
	// Packets of one round.
	RunsHot    int // one flow
	RunsRandom int // flows at random
	RunsNew    int // flows that begin; at most maxNew, or events would be lost
	Sizes      datapath.Sizes
	// Spread: only new flows, whose peers are spread over all rows.
	Spread bool
	// Told is called with the result of each pass.
	Told func(record.Packet)
}

// maxNew events fit into half of the ring, so that no wake-up is measured.
const maxNew = 30_000

// Defaults are those of the published figures. The flow table is as the agent
// makes it on a node with 24 GB, the rings have its greatest size. One pod may
// fill the flow table.
func Defaults() Options {
	return Options{
		Rows: []int{1, 100, 1000, 10_000, 60_000}, Families: []string{"IPv4", "IPv6"},
		Rounds: 5, Passes: 3, RunsHot: 500_000, RunsRandom: 250_000, RunsNew: 20_000,
		Sizes: datapath.Sizes{Flows: 1 << 20, Spill: 1 << 18, Rows: 1 << 17, Peers: 1 << 17, Ring: 1 << 23},
	}
}

// Quick takes some seconds for each entry of Rows and family, and has just the
// room that the cases need.
func Quick() Options {
	o := Defaults()
	o.Rows, o.Passes, o.RunsHot, o.RunsRandom, o.RunsNew = []int{1, 10_000}, 1, 200_000, 50_000, 3_000
	o.Sizes.Flows, o.Sizes.Spill = 1<<19, 1<<16
	return o
}

// Validate reports everything that is wrong at once.
func (o Options) Validate() error {
	var errs []error
	if o.Rounds < 5 {
		errs = append(errs, fmt.Errorf("%d rounds: a median needs at least 5", o.Rounds))
	}
	if o.Passes < 1 {
		errs = append(errs, fmt.Errorf("%d passes: want at least 1", o.Passes))
	}
	if o.RunsNew > maxNew || o.RunsNew < 1 || o.RunsHot < 1 || o.RunsRandom < 1 {
		errs = append(errs, fmt.Errorf("runs %d, %d and %d: want at least 1 of each and at most %d new flows", o.RunsHot, o.RunsRandom, o.RunsNew, maxNew))
	}
	for _, rows := range o.Rows {
		if rows < 1 || rows > 60_000 {
			errs = append(errs, fmt.Errorf("%d rows: want 1 to 60,000", rows))
		}
	}
	for _, f := range o.Families {
		if _, known := families()[f]; !known {
			errs = append(errs, fmt.Errorf("family %q: want IPv4 or IPv6", f))
		}
	}
	return errors.Join(errs...)
}

// Notes for the readers of the results.
func (o Options) Notes() []string {
	notes := []string{
		fmt.Sprintf("Medians of %d rounds: %d passes over all stages, some minutes apart.", o.Rounds*o.Passes, o.Passes),
		fmt.Sprintf("TCP without payload; rounds of %d packets of one flow, %d of flows at random, %d of new ones.", o.RunsHot, o.RunsRandom, o.RunsNew),
		fmt.Sprintf("A flow table of %d entries with %d of spill; \"evicting\": both are full.", o.Sizes.Flows, o.Sizes.Spill),
		"Rows are those of one direction; the map has as many of the other.",
	}
	if o.Spread {
		return append(notes, "Each new flow goes to another peer; peers are spread over all rows (over the largest power of two below their number).")
	}
	return append(notes, fmt.Sprintf("Flows go to %d peers, at even distances among all.", 1<<targetBits))
}
