// SPDX-License-Identifier: Apache-2.0

package change

import (
	"time"

	"github.com/weirnet/weir/test/bench/record"
)

// span is a time from and to, by now.
type span struct{ From, To time.Duration }

func (s span) took() time.Duration { return s.To - s.From }

func (s span) overlaps(other span) bool { return s.From <= other.To && other.From <= s.To }

func durations(list []span) []time.Duration {
	var all []time.Duration
	for _, s := range list {
		all = append(all, s.took())
	}
	return all
}

// undisturbed are the spans in which no witness was late.
func undisturbed(list, late []span) []span {
	var calm []span
	for _, s := range list {
		disturbed := false
		for _, l := range late {
			disturbed = disturbed || s.overlaps(l)
		}
		if !disturbed {
			calm = append(calm, s)
		}
	}
	return calm
}

// lateRate is how many wake-ups were late in a second of the spans.
func lateRate(list, late []span) float64 {
	var count int
	var took time.Duration
	for _, s := range list {
		took += s.took()
		for _, l := range late {
			if s.overlaps(l) {
				count++
			}
		}
	}
	if took == 0 {
		return 0
	}
	return float64(count) / took.Seconds()
}

// distribution of the lateness of all wake-ups. A quantile is the upper end of
// its bin; the last bin ends with the greatest lateness.
func (t *testimony) distribution() record.Distribution {
	var count, seen int
	for _, n := range t.Lateness {
		count += int(n)
	}
	d := record.Distribution{Count: count, MaxMs: record.Ms(t.Max)}
	for i, n := range t.Lateness {
		seen += int(n)
		upper := record.Ms(t.Max)
		if i < bins-1 {
			upper = record.Ms(min(t.Max, time.Duration(i+1)*bin))
		}
		for _, q := range []struct {
			of   float64
			into *float64
		}{{0.5, &d.P50Ms}, {0.9, &d.P90Ms}, {0.99, &d.P99Ms}} {
			if *q.into == 0 && seen > int(q.of*float64(count)) {
				*q.into = upper
			}
		}
	}
	return d
}
