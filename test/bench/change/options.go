// SPDX-License-Identifier: Apache-2.0

package change

import (
	"errors"
	"fmt"

	"github.com/weirnet/weir/test/bench/record"
)

// Options say what is measured, and how often.
type Options struct {
	Bin      string // folder of weir-agent and weir
	Pods     int    // of the node; two of them talk
	Policies int    // that select all pods; one of them changes
	Rounds   int    // of opening, shutting and bare work
	// Told is called with each result.
	Told func(record.Change)
}

// Defaults are those of the published figures.
func Defaults() Options { return Options{Pods: 250, Policies: 1000, Rounds: 300} }

// Quick is for trying the benchmark.
func Quick() Options { return Options{Pods: 10, Policies: 20, Rounds: 10} }

// Validate reports everything that is wrong at once.
func (o Options) Validate() error {
	var errs []error
	if o.Bin == "" {
		errs = append(errs, errors.New("no folder of weir-agent and weir"))
	}
	if o.Pods < 2 || o.Pods > 50_000 {
		errs = append(errs, fmt.Errorf("%d pods: want 2 to 50,000, which have addresses in one /16", o.Pods))
	}
	if o.Policies < 1 || o.Policies > 50_000 {
		errs = append(errs, fmt.Errorf("%d policies: want 1 to 50,000", o.Policies))
	}
	if o.Rounds < 1 {
		errs = append(errs, fmt.Errorf("%d rounds: want at least one", o.Rounds))
	}
	return errors.Join(errs...)
}
