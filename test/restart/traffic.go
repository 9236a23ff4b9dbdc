// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// traffic runs until its context ends and counts what should not have been.
type traffic struct {
	opened, streamed, refused  atomic.Int64 // attempts that ended as they must
	wronglyDropped, streamCuts atomic.Int64
	wronglyPassed              atomic.Int64 // as the sender saw it
	mu                         sync.Mutex
	first                      map[string]string // the first error of a kind
	wait                       sync.WaitGroup
}

const answerLimit = 2 * time.Second

// connect opens rate connections a second from inside a namespace, each with
// one exchange; allowed says how each must end.
func (t *traffic) connect(ctx context.Context, from *netns.Namespace, to netip.AddrPort, rate int, allowed bool) {
	t.wait.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				t.wait.Go(func() { t.attempt(ctx, from, to, allowed) })
			}
		}
	})
}

func (t *traffic) attempt(ctx context.Context, from *netns.Namespace, to netip.AddrPort, allowed bool) {
	limit := answerLimit
	if !allowed {
		limit = 150 * time.Millisecond // silence is the answer
	}
	err := from.Try("tcp", to, limit)
	switch {
	case allowed && err == nil:
		t.opened.Add(1)
	case allowed:
		t.wronglyDropped.Add(1)
		t.note("a new connection that is allowed", err.Error())
	case err == nil:
		t.wronglyPassed.Add(1)
		t.note("a new connection that is denied", "passed")
	default:
		t.refused.Add(1)
	}
}

// stream exchanges messages on one connection that is allowed.
func (t *traffic) stream(ctx context.Context, conn net.Conn) {
	t.wait.Go(func() {
		defer conn.Close()
		for ctx.Err() == nil {
			if err := netns.Exchange(conn, "on and on", answerLimit); err != nil {
				t.streamCuts.Add(1)
				t.note("a stream that is allowed", err.Error())
				return
			}
			t.streamed.Add(1)
		}
	})
}

func (t *traffic) note(kind, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = map[string]string{}
	}
	if _, ok := t.first[kind]; !ok {
		t.first[kind] = text
	}
}
