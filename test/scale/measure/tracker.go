// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/weirnet/weir/bpf"
)

const (
	// pollPause lies between two looks at the table while something is awaited.
	pollPause = 50 * time.Microsecond
	// givenUp is when an entry is taken for one that never comes.
	givenUp = 10 * time.Second
)

// Samples of a Tracker.
type Samples struct {
	// Added and Deleted are times from an event, fully read by the first of two
	// watching clients, until the table was seen to follow, all addresses of
	// the pod: with a class, or with class 0 or no entry.
	Added, Deleted []time.Duration
	// Between two looks at the table: no sample is more exact.
	Looks []time.Duration
	// Apart are the two clients' times of one event.
	Apart []time.Duration
	// Missed: the table did not follow within 10 s.
	Missed int
	// Reused addresses were still in the table for the pod before; their pods
	// are not among Added.
	Reused int
}

// Tracker compares what the API server tells of pods with the table of peers.
type Tracker struct {
	peers  *ebpf.Map
	expect func(*corev1.Pod) bool // that the pod's addresses have a class
	events chan told
	cancel context.CancelFunc
	done   sync.WaitGroup
	listed chan struct{} // one for each first list that is complete

	// Of the goroutine of run.
	known   map[types.UID]*seen
	pending []*wait
	leaving map[netip.Addr]*wait
	last    time.Time // look

	mu      sync.Mutex
	samples Samples
	err     error
}

// seen is a pod that was told of.
type seen struct {
	added, gone     told
	addedBy, goneBy [2]bool // by which watcher
}

// wait is for entries that must come or go.
type wait struct {
	since time.Time
	addrs []netip.Addr
	gone  bool // they must go
}

// Follow pods with two clients until Close. It returns when both have told of
// all pods that there are.
func Follow(ctx context.Context, clients [2]kubernetes.Interface, peers *ebpf.Map, expect func(*corev1.Pod) bool) (*Tracker, error) {
	ctx, cancel := context.WithCancel(ctx)
	t := &Tracker{
		peers: peers, expect: expect, cancel: cancel, events: make(chan told), listed: make(chan struct{}, len(clients)),
		known: map[types.UID]*seen{}, leaving: map[netip.Addr]*wait{},
	}
	for i, client := range clients {
		t.done.Go(func() {
			if err := observe(ctx, client, i, t.events); err != nil {
				t.fail(err)
				cancel()
			}
		})
	}
	t.done.Go(func() { t.run(ctx) })
	for range clients {
		select {
		case <-t.listed:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), t.Close())
		}
	}
	return t, nil
}

// Close ends the clients.
func (t *Tracker) Close() error {
	t.cancel()
	t.done.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Take the samples since the last call.
func (t *Tracker) Take() (Samples, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.samples
	t.samples = Samples{}
	return s, t.err
}

func (t *Tracker) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, err)
}

// run takes events, and looks at the table while it waits for something.
func (t *Tracker) run(ctx context.Context) {
	listing := [2]bool{true, true}
	for {
		var soon <-chan time.Time
		if len(t.pending) > 0 {
			soon = time.After(pollPause)
		} else {
			t.last = time.Time{}
		}
		select {
		case <-ctx.Done():
			return
		case e := <-t.events:
			if listing[e.watcher] {
				if t.enter(e) {
					listing[e.watcher] = false
					t.listed <- struct{}{}
				}
				continue
			}
			t.take(e)
		case <-soon:
		}
		if err := t.look(); err != nil {
			t.fail(err)
			t.cancel()
			return
		}
	}
}

// enter a pod of a first list, and say whether that is complete.
func (t *Tracker) enter(e told) bool {
	if e.kind == watch.Bookmark {
		_, complete := e.pod.Annotations["k8s.io/initial-events-end"]
		return complete
	}
	s := t.of(e.pod)
	if len(e.pod.Status.PodIPs) > 0 {
		s.added, s.addedBy = e, [2]bool{true, true}
	}
	return false
}

func (t *Tracker) of(pod *corev1.Pod) *seen {
	s := t.known[pod.UID]
	if s == nil {
		s = &seen{}
		t.known[pod.UID] = s
	}
	return s
}

// take an event of a change.
func (t *Tracker) take(e told) {
	if e.kind == watch.Bookmark || !t.expect(e.pod) || len(e.pod.Status.PodIPs) == 0 {
		return
	}
	s := t.of(e.pod)
	if e.kind == watch.Deleted {
		if t.first(&s.gone, &s.goneBy, e) {
			t.await(e, true)
		}
		if s.goneBy[0] && s.goneBy[1] {
			delete(t.known, e.pod.UID)
		}
		return
	}
	if t.first(&s.added, &s.addedBy, e) {
		t.await(e, false)
	}
}

// first says whether nobody has told of it before, and notes how far the two
// are apart.
func (t *Tracker) first(then *told, by *[2]bool, e told) bool {
	if by[e.watcher] {
		return false
	}
	by[e.watcher] = true
	if then.pod == nil {
		*then = e
		return true
	}
	t.mu.Lock()
	t.samples.Apart = append(t.samples.Apart, e.at.Sub(then.at).Abs())
	t.mu.Unlock()
	return false
}

func (t *Tracker) await(e told, gone bool) {
	w := &wait{since: e.at, gone: gone}
	for _, ip := range e.pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			w.addrs = append(w.addrs, addr)
		}
	}
	for _, addr := range w.addrs {
		if gone {
			t.leaving[addr] = w
			continue
		}
		if left := t.leaving[addr]; left != nil { // neither can be told from the other
			left.addrs, w.addrs = nil, nil
			t.mu.Lock()
			t.samples.Reused++
			t.mu.Unlock()
			return
		}
	}
	t.pending = append(t.pending, w)
}

// look at the table for all that is awaited.
func (t *Tracker) look() error {
	if len(t.pending) == 0 {
		return nil
	}
	now := time.Now()
	if !t.last.IsZero() {
		t.mu.Lock()
		t.samples.Looks = append(t.samples.Looks, now.Sub(t.last))
		t.mu.Unlock()
	}
	t.last = now
	left := t.pending[:0]
	for _, w := range t.pending {
		over, err := t.settled(w)
		if err != nil {
			return err
		}
		if !over {
			left = append(left, w)
		}
	}
	t.pending = left
	return nil
}

// settled says whether a wait is over, and takes its time.
func (t *Tracker) settled(w *wait) (bool, error) {
	for _, addr := range w.addrs {
		there, err := Classed(t.peers, addr)
		if err != nil {
			return false, err
		}
		if there == w.gone && time.Since(w.since) < givenUp {
			return false, nil
		}
	}
	took := time.Since(w.since)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(w.addrs) == 0: // given up for a pod that came with its address
	case took >= givenUp:
		t.samples.Missed++
	case w.gone:
		t.samples.Deleted = append(t.samples.Deleted, took)
	default:
		t.samples.Added = append(t.samples.Added, took)
	}
	for addr, left := range t.leaving {
		if left == w {
			delete(t.leaving, addr)
		}
	}
	return true, nil
}

// Classed says whether a table of peers has the address with a class.
func Classed(peers *ebpf.Map, addr netip.Addr) (bool, error) {
	var peer bpf.WeirPeer
	err := peers.Lookup(bpf.WeirAddress{Bytes: addr.As16()}, &peer)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", addr, err)
	}
	return peer.Class != 0, nil
}
