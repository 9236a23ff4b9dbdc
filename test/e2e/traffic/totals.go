// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The ports that every process serves on: echo by TCP and UDP, and its totals
// by HTTP.
const (
	PortTCP    = 9000
	PortUDP    = 9001
	PortTotals = 9002
)

// PortProxy is what a Proxy of the tests serves on.
const PortProxy = 8443

// Totals are what one process counted.
type Totals struct {
	Calls    []Calls
	Arrivals map[netip.Addr]Arrivals // by the source that this end saw
}

// Calls of one target.
type Calls struct {
	Target
	Attempts int64
	Answered int64
	Failed   int64 // attempts that ended without an answer
	// Failures are the last few of them; LongestGap is the longest time between
	// two answers.
	Failures   []string
	LongestGap time.Duration
}

// Arrivals from one source.
type Arrivals struct {
	Connections int64
	Datagrams   int64
}

const failuresKept = 3 // for one target

// counter of one target's calls.
type counter struct {
	mu    sync.Mutex
	calls Calls
	last  time.Time // answer
}

func (c *counter) attempt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Attempts++
}

func (c *counter) end(began time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.calls.Failed++
		kept := c.calls.Failures[max(0, len(c.calls.Failures)-failuresKept+1):]
		c.calls.Failures = append(slices.Clone(kept), began.UTC().Format("15:04:05.000")+": "+err.Error())
		return
	}
	now := time.Now()
	if !c.last.IsZero() {
		c.calls.LongestGap = max(c.calls.LongestGap, now.Sub(c.last))
	}
	c.last = now
	c.calls.Answered++
}

func (c *counter) read() Calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}
