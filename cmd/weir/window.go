// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

const defaultLast = 20

// window is from when until when.
type window struct{ since, until string }

func (w *window) register(flags *pflag.FlagSet) {
	flags.StringVar(&w.since, "since", "", "not before this `TIME`: 10m or 2h30m before now, or 2006-01-02T15:04:05Z")
	flags.StringVar(&w.until, "until", "", "not at or after this `TIME`, given in the same ways; with -f it may be to come")
}

// read returns nil for what was not given. now is what durations count from.
func (w *window) read(now time.Time, follow bool) (since, until *timestamppb.Timestamp, err error) {
	var errs []error
	moment := func(flag, text string, ahead bool) *timestamppb.Timestamp {
		if text == "" {
			return nil
		}
		at, err := parseMoment(text, now)
		if err == nil && !ahead && at.After(now) {
			err = fmt.Errorf("%s is in the future", text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
			return nil
		}
		return timestamppb.New(at)
	}
	since = moment("since", w.since, false)
	until = moment("until", w.until, follow)
	if since != nil && until != nil && !since.AsTime().Before(until.AsTime()) {
		errs = append(errs, fmt.Errorf("--until %s is not after --since %s", w.until, w.since))
	}
	return since, until, errors.Join(errs...)
}

// selection is which of the flows that pass the filters.
type selection struct {
	window
	follow      bool
	first, last uint32
	all         bool
	count       uint32
	// Which of the flags were typed.
	firstGiven, lastGiven, countGiven bool
}

func (s *selection) register(flags *pflag.FlagSet) {
	flags.Uint32Var(&s.last, "last", defaultLast,
		"show at most `N` kept flows, the newest; 0 is all; if not given, -f shows none and --since, --until and --first all")
	flags.Uint32Var(&s.first, "first", 0, "show at most `N` kept flows, the oldest")
	flags.BoolVar(&s.all, "all", false, "show all kept flows, as --last 0")
	s.window.register(flags)
	flags.Uint32Var(&s.count, "count", 0, "end after `N` flows")
}

// typed notes which flags were given.
func (s *selection) typed(flags *pflag.FlagSet) {
	s.firstGiven, s.lastGiven, s.countGiven = flags.Changed("first"), flags.Changed("last"), flags.Changed("count")
}

// fill sets what a watch says of it. Its error names every flag that cannot be
// read.
func (s *selection) fill(r *pb.WatchRequest, now time.Time) error {
	var errs []error
	fail := func(text string) { errs = append(errs, errors.New(text)) }
	since, until, err := s.window.read(now, s.follow)
	if err != nil {
		errs = append(errs, err)
	}
	switch {
	case s.all && s.lastGiven, s.all && s.firstGiven, s.firstGiven && s.lastGiven:
		fail("--first, --last and --all exclude each other")
	case s.firstGiven && s.first == 0:
		fail("--first 0 shows nothing; use --all for all kept flows")
	case s.firstGiven && s.follow:
		fail("--first is of kept flows; with -f use --count")
	}
	if s.countGiven && s.count == 0 {
		fail("--count 0 shows nothing; leave it out for no bound")
	}
	r.Follow, r.Since, r.Until, r.Last = s.follow, since, until, s.kept()
	r.Limit = s.count
	if s.first > 0 && (s.count == 0 || s.first < s.count) {
		r.Limit = s.first
	}
	return errors.Join(errs...)
}

// kept is WatchRequest.last. Its 0 means all without follow, and none with
// follow alone; -f --all asks for all.
func (s *selection) kept() uint32 {
	all := s.all || s.lastGiven && s.last == 0
	switch {
	case all && s.follow:
		return math.MaxUint32
	case all:
		return 0
	case s.lastGiven:
		return s.last
	case s.follow, s.firstGiven, s.since != "", s.until != "":
		return 0
	}
	return defaultLast
}
