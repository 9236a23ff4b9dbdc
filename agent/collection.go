// SPDX-License-Identifier: Apache-2.0

package agent

import "time"

// Collect waits for running programs, and a change that comes meanwhile would
// wait with it: so it is left for a moment without changes, but not for long.
const (
	collectPause = 20 * time.Millisecond
	collectAfter = time.Second
)

// collectIn is how long a moment without changes must be until what nothing
// refers to is dropped; 0: it is dropped at once. There may be something since a
// time, and last is when that was done before.
//
// Where pods come and go all the time, moments of 20 ms are frequent: with 20
// pods a second, ten times a second a change would find the agent waiting. So
// there one collection a second is enough. After a flip it is not put off: the
// next change of classes would have to wait for running programs itself.
func collectIn(now, since, last time.Time, flipped bool) time.Duration {
	if now.Sub(since) > collectAfter {
		return 0
	}
	if flipped {
		return collectPause
	}
	return max(collectPause, last.Add(collectAfter).Sub(now))
}
