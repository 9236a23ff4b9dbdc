// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"fmt"
	"sync"
	"time"
)

// The bounds of a Store's capacity, in flows. Readers collect for 50 ms
// between two looks, so a store must hold what comes in that time.
const (
	MinCapacity     = 1024
	DefaultCapacity = 1 << 16
	MaxCapacity     = 1 << 24
)

// Store keeps the newest flows, up to its capacity. A flow's sequence is its
// position: the first of a run has 1, and each later one has the next number.
// All methods may be called by several goroutines. Adding waits for no reader:
// a reader that is overtaken is told how many flows it missed.
type Store struct {
	mu     sync.Mutex
	ring   []*Flow // the flow of sequence s stands at s % len
	newest uint64
	wake   chan struct{} // closed by the next Add; nil: nobody waits
	subs   int
}

// NewStore makes an empty store for that many flows.
func NewStore(capacity int) (*Store, error) {
	if capacity < MinCapacity || capacity > MaxCapacity {
		return nil, fmt.Errorf("flow store: a capacity of %d is not within %d to %d", capacity, MinCapacity, MaxCapacity)
	}
	return &Store{ring: make([]*Flow, capacity)}, nil
}

// Add gives the flow its sequence and keeps it. Nobody may change it any more.
func (s *Store) Add(f *Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest++
	f.Sequence = s.newest
	s.ring[s.newest%uint64(len(s.ring))] = f
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// Bounds are the sequences of the oldest and the newest flow that is kept. An
// empty store has 1 and 0.
func (s *Store) Bounds() (oldest, newest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest(), s.newest
}

// Oldest is the time of the oldest flow that is kept; false: there is none.
func (s *Store) Oldest() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == 0 {
		return time.Time{}, false
	}
	return s.ring[s.oldest()%uint64(len(s.ring))].Time, true
}

// Capacity is the number of flows that the store keeps.
func (s *Store) Capacity() int { return len(s.ring) }

// Subscribers counts the subscriptions that are not closed.
func (s *Store) Subscribers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs
}

func (s *Store) oldest() uint64 {
	if n := uint64(len(s.ring)); s.newest > n {
		return s.newest - n + 1
	}
	return 1
}

// copyAfter fills buf with the flows that follow a sequence. missed are those
// that were overwritten before they could be copied.
func (s *Store) copyAfter(after uint64, buf []*Flow) (n int, missed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := after + 1
	if oldest := s.oldest(); next < oldest {
		missed = oldest - next
		next = oldest
	}
	for n < len(buf) && next <= s.newest {
		buf[n] = s.ring[next%uint64(len(s.ring))]
		n++
		next++
	}
	return n, missed
}

// LastMatching returns the sequence after which exactly the newest n kept
// flows that pass the filter stand (all of them, if there are fewer).
func (s *Store) LastMatching(filter *Filter, n int) (after uint64) {
	// The pointers are copied, and matched without the lock: a filter over
	// the whole store takes milliseconds, in which Add must not wait.
	s.mu.Lock()
	oldest, newest := s.oldest(), s.newest
	kept := make([]*Flow, 0, newest-oldest+1)
	for seq := oldest; seq <= newest; seq++ {
		kept = append(kept, s.ring[seq%uint64(len(s.ring))])
	}
	s.mu.Unlock()
	after = newest
	for i := len(kept) - 1; i >= 0 && n > 0; i-- {
		if filter.Matches(kept[i]) {
			n--
			after = kept[i].Sequence - 1
		}
	}
	return after
}
