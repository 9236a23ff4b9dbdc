// SPDX-License-Identifier: Apache-2.0

package flows

import "sync"

// readChunk is how many flows a subscription takes from the store at once.
const readChunk = 512

// Subscription is one reader's place in a Store. It belongs to one goroutine.
type Subscription struct {
	store  *Store
	filter *Filter
	cursor uint64
	missed uint64
	buffer []*Flow
	closed sync.Once
}

// Subscribe begins after the flow with the given sequence: the newest of Bounds
// for what is still to come, the oldest less one for all that is kept. What
// has been overwritten since that sequence counts as missed.
func (s *Store) Subscribe(filter *Filter, after uint64) *Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs++
	after = min(after, s.newest)
	return &Subscription{store: s, filter: filter, cursor: after, buffer: make([]*Flow, readChunk)}
}

// Read appends to dst, up to the given length of dst, the next flows that pass
// the filter, and returns at once with what there is. It looks no further than
// sequence until (0: no bound). done reports that nothing more is there now,
// or before until.
func (r *Subscription) Read(dst []*Flow, length int, until uint64) (flows []*Flow, done bool) {
	for {
		if until != 0 && r.cursor >= until {
			return dst, true
		}
		if len(dst) >= length {
			return dst, false
		}
		n, missed := r.store.copyAfter(r.cursor, r.buffer)
		r.missed += missed
		r.cursor += missed
		if n == 0 {
			return dst, true
		}
		for _, f := range r.buffer[:n] {
			if len(dst) >= length || until != 0 && f.Sequence > until {
				break
			}
			r.cursor = f.Sequence
			if shown := r.filter.Show(f); shown != nil {
				dst = append(dst, shown)
			}
		}
		clear(r.buffer[:n]) // else a reader that sleeps keeps flows alive that the store gave up
	}
}

// Ready is closed once there is a flow after the cursor, whether it passes the
// filter or not.
func (r *Subscription) Ready() <-chan struct{} {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.cursor < s.newest {
		ready := make(chan struct{})
		close(ready)
		return ready
	}
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

// Cursor is the sequence up to which everything has been read or missed.
func (r *Subscription) Cursor() uint64 { return r.cursor }

// Missed counts the flows that were overwritten before Read came to them. The
// filter was not asked about them.
func (r *Subscription) Missed() uint64 { return r.missed }

// Close gives the place up; Read must not be called after it.
func (r *Subscription) Close() {
	r.closed.Do(func() {
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		r.store.subs--
	})
}
