// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
)

const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitEmpty       = 3
	exitMatch       = 4
	exitPartial     = 5
	exitTimeout     = 124
	exitInterrupted = 130
)

const exitCodes = `Exit codes:
  0    done; a denial that is shown is an answer, not an error
  1    error
  2    wrong usage
  3    nothing to show, with --exit-nonzero-if-empty
  4    a flow was shown, with --fail-on-match
  5    done, but a part is missing: flows were lost on the way or held back,
       overwritten while they were read, a file is cut off, or a node does not
       answer; what is missing is told
  124  --timeout was over
  130  interrupted`

// outcome is an end that is no failure of the command, yet has an exit code of
// its own.
type outcome struct {
	code int
	said string // on standard error; empty: nothing
}

func (o *outcome) Error() string { return o.said }

// expectation is what scripts tell a command to make of what it shows.
type expectation struct {
	timeout     time.Duration
	failOnMatch bool
	failIfEmpty bool
}

func (e *expectation) register(flags *pflag.FlagSet) {
	flags.DurationVar(&e.timeout, "timeout", 0,
		"end after this `TIME`, with exit code 124 unless --fail-on-match or --exit-nonzero-if-empty says what that means")
	flags.BoolVar(&e.failOnMatch, "fail-on-match", false, "end with exit code 4 once a flow is shown")
	flags.BoolVar(&e.failIfEmpty, "exit-nonzero-if-empty", false, "end with exit code 3 if no flow was shown")
}

func (e *expectation) check(flags *pflag.FlagSet) error {
	var errs []error
	if flags.Changed("timeout") && e.timeout <= 0 {
		errs = append(errs, errors.New("--timeout is not above 0; leave it out for no bound"))
	}
	if e.failOnMatch && e.failIfEmpty {
		errs = append(errs, errors.New("--fail-on-match and --exit-nonzero-if-empty: one of them fails whatever comes; leave one out"))
	}
	return errors.Join(errs...)
}

// progress is how an observation went.
type progress struct {
	shown   uint32 // flows
	wanted  uint32 // by --count; 0: no number
	timeUp  bool
	partial bool
}

// outcome is nil for the exit code 0. A match stands above all: it is certain.
// That nothing came is certain only if nothing is missing.
func (e *expectation) outcome(o progress) error {
	short := o.wanted > 0 && o.shown < o.wanted
	switch {
	case e.failOnMatch && o.shown > 0:
		return &outcome{exitMatch, "a flow came that --fail-on-match forbids"}
	case o.timeUp && (short || !e.failOnMatch && !e.failIfEmpty):
		return &outcome{exitTimeout, "--timeout is over"}
	case o.partial:
		return &outcome{code: exitPartial}
	case e.failIfEmpty && o.shown == 0:
		return &outcome{code: exitEmpty}
	}
	return nil
}
