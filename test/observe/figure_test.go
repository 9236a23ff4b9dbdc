// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long makes the windows of the figures long enough to show: CI takes short ones.
var long = flag.Bool("long", false, "measure for a minute where seconds do for a test")

// lasting is how long something is measured.
func lasting(short, whenLong time.Duration) time.Duration {
	if *long {
		return whenLong
	}
	return short
}

// figure is a line of the table of `make figures-observe`.
func figure(t *testing.T, what, format string, values ...any) {
	t.Helper()
	average, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(average), " ")
	t.Logf("figure: %-62s | %-88s | load %s", what, fmt.Sprintf(format, values...), load)
}

// cpu is time of a process in user and kernel mode.
type cpu struct{ user, system time.Duration }

func (c cpu) less(before cpu) cpu { return cpu{c.user - before.user, c.system - before.system} }

// of a window, as parts of one core.
func (c cpu) of(window time.Duration) string {
	user, system := c.user.Seconds()/window.Seconds(), c.system.Seconds()/window.Seconds()
	return fmt.Sprintf("agent %.1f %% of a core (user %.1f, system %.1f)", 100*(user+system), 100*user, 100*system)
}

// cpu of the agent so far, from /proc/PID/stat (proc_pid_stat(5)), where a tick
// is 10 ms.
func (s *stage) cpu() cpu {
	s.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.agent.PID()))
	s.must(err)
	// The second field is a name in parentheses, which may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime, tick = 14 - 3, 15 - 3, 10 * time.Millisecond
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	s.must(err)
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	s.must(err)
	return cpu{time.Duration(user) * tick, time.Duration(system) * tick}
}

// ring is what the programs counted of one ring.
type ring struct {
	read                                      time.Time
	emitted, lost, limited, thinned, repeated uint64
}

// probes bounds how many events of the agent's self tests, 3 of one ring every
// 5 s, may stand in what a filling ring held back since an earlier reading.
// All of them are taken off what was emitted (datapath.Lost), so that many more
// may have been told.
func (r ring) probes(before ring) uint64 {
	if r.lost+r.thinned == 0 {
		return 0
	}
	return 3 * uint64(1+r.read.Sub(before.read)/(5*time.Second))
}

// called is how many events packets called for.
func (r ring) called() uint64 { return r.emitted + r.lost + r.limited + r.thinned + r.repeated }

func (r ring) less(before ring) ring {
	return ring{r.read, r.emitted - before.emitted, r.lost - before.lost, r.limited - before.limited, r.thinned - before.thinned, r.repeated - before.repeated}
}

func (r ring) String() string {
	return fmt.Sprintf("emitted %d, lost %d, limited %d, thinned %d, repeated %d", r.emitted, r.lost, r.limited, r.thinned, r.repeated)
}

// ring reads the counters of the programs, by "allowed" or "denied".
func (s *stage) ring(name string) (ring, error) {
	samples, err := s.view.Samples("weir_events_")
	count := func(metric, stage string) uint64 {
		return uint64(samples[fmt.Sprintf("weir_events_%s_total{ring=%q%s}", metric, name, stage)])
	}
	return ring{
		read:    time.Now(),
		emitted: count("emitted", ""), lost: count("lost", ""), limited: count("suppressed", `,stage="limited"`),
		thinned: count("suppressed", `,stage="thinned"`), repeated: count("suppressed", `,stage="repeated"`),
	}, err
}

func (s *stage) mustRing(name string) ring {
	s.t.Helper()
	r, err := s.ring(name)
	s.must(err)
	return r
}
