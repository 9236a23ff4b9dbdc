// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/weirnet/weir/api/client"
	weirv1 "github.com/weirnet/weir/api/v1"
)

const (
	passed = weirv1.Verdict_VERDICT_ALLOWED
	barred = weirv1.Verdict_VERDICT_DENIED
)

// whose is what a reader counts by.
type whose struct {
	pod     string
	verdict weirv1.Verdict
}

// reader is a subscriber over a connection of its own, to what crowds send.
type reader struct {
	client *client.Client
	stop   context.CancelFunc
	done   chan error

	mu      sync.Mutex
	told    map[whose]uint64
	missed  uint64 // flows that it was too slow for
	kernel  uint64 // events that found a ring full
	limited uint64 // events over a pod's share
}

// subscribe watches from now on, until close.
func (s *stage) subscribe() *reader {
	s.t.Helper()
	options := client.Defaults()
	options.Socket = s.agent.Socket()
	c, err := client.Dial(s.t.Context(), options)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{client: c, stop: cancel, done: make(chan error, 1), told: map[whose]uint64{}}
	stream, err := c.Flows.Watch(ctx, &weirv1.WatchRequest{Follow: true, Filter: &weirv1.FlowFilter{
		Kinds: []weirv1.FlowKind{begun}, Protocols: []uint32{17},
	}})
	if err == nil {
		_, err = stream.Recv() // from here on it misses nothing
	}
	if err != nil {
		cancel()
		s.t.Fatal(errors.Join(err, c.Close()))
	}
	go func() {
		err := r.read(stream)
		if ctx.Err() != nil {
			err = nil
		}
		r.done <- err
	}()
	return r
}

func (r *reader) read(stream grpc.ServerStreamingClient[weirv1.WatchResponse]) error {
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, f := range response.GetFlows() {
			// Of the pod whose policy decided.
			pod := f.GetSource()
			if f.GetDirection() == ingress {
				pod = f.GetDestination()
			}
			r.told[whose{pod.GetName(), f.GetVerdict()}]++
		}
		if loss := response.GetLoss(); loss != nil {
			r.missed, r.kernel, r.limited = loss.GetReader(), loss.GetKernel(), loss.GetLimited()
		}
		r.mu.Unlock()
	}
}

func (s *stage) close(readers ...*reader) {
	for _, r := range readers {
		r.stop()
		s.must(errors.Join(<-r.done, r.client.Close()))
	}
}

// of is how many flows of a pod it was told.
func (r *reader) of(pod string, verdict weirv1.Verdict) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[whose{pod, verdict}]
}

// total is how many flows it was told with a verdict.
func (r *reader) total(verdict weirv1.Verdict) (n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w, told := range r.told {
		if w.verdict == verdict {
			n += told
		}
	}
	return n
}

// has checks that it was told exactly so many, and missed none.
func (r *reader) has(verdict weirv1.Verdict, want uint64) error {
	n, missed := r.total(verdict), r.skipped()
	if n != want || missed != 0 {
		return fmt.Errorf("told %d of %d, missed %d", n, want, missed)
	}
	return nil
}

// accounts checks that it was told between so many and so many, or that it
// missed some. What it missed may have been something else.
func (r *reader) accounts(verdict weirv1.Verdict, least, most uint64) error {
	n, missed := r.total(verdict), r.skipped()
	if n > most || n+missed < least {
		return fmt.Errorf("told %d of %d to %d, missed %d", n, least, most, missed)
	}
	return nil
}

func (r *reader) skipped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missed
}

// untold is how many events it was told that rings had no room for, and that
// pods had no share left for.
func (r *reader) untold() (lost, limited uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kernel, r.limited
}
