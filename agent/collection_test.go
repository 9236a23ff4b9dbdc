// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"
)

func TestCollectIn(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	for _, row := range []struct {
		name        string
		since, last time.Duration // ago
		flipped     bool
		want        time.Duration
	}{
		{"the first change", 0, time.Hour, false, 20 * ms},
		{"soon after the last collection", 0, 100 * ms, false, 900 * ms},
		{"in the same moment", 0, 0, false, 1000 * ms},
		{"a second after it", 0, 1000 * ms, false, 20 * ms},
		{"almost a second after it", 500 * ms, 990 * ms, false, 20 * ms},
		{"soon after it, with a flip", 0, 100 * ms, true, 20 * ms},
		{"changes for a second", 1000 * ms, 1100 * ms, false, 20 * ms},
		{"changes for more than a second", 1001 * ms, 1001 * ms, false, 0},
		{"changes for more than a second, with a flip", 1001 * ms, 5000 * ms, true, 0},
	} {
		if got := collectIn(now, now.Add(-row.since), now.Add(-row.last), row.flipped); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if got := collectIn(now, now, time.Time{}, false); got != collectPause {
		t.Errorf("before the first collection: %s, want %s", got, collectPause)
	}
}

// Pods that come and go at an even pace lead to one collection a second,
// however the moments between them fall.
func TestCollectionsUnderChurn(t *testing.T) {
	for _, gap := range []time.Duration{time.Millisecond, 15 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond} {
		now, since, last := time.Unix(1000, 0), time.Time{}, time.Time{}
		collections := 0
		for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(gap) {
			if since.IsZero() {
				since = now
			}
			if wait := collectIn(now, since, last, false); wait < gap { // the next change comes later
				collections++
				since, last = time.Time{}, now.Add(wait)
			}
		}
		if collections < 13 || collections > 21 {
			t.Errorf("a change each %s: %d collections in 20 s, want about one a second", gap, collections)
		}
	}
}
