// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"math"

	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
)

const (
	// batchFlows and batchBytes bound one response of Watch.
	batchFlows = 256
	batchBytes = 1 << 20
	// batchDelay lies between two responses that are not full: the first flow
	// after a quiet time is told at once, those that follow come together.
	batchDelay = 50 * time.Millisecond
	// lossPoll is how often a reader to whom no flow comes is told of losses.
	lossPoll = time.Second
	// lateness is how long after its time a flow may come into the store.
	lateness = time.Second
)

type flowService struct {
	weirv1.UnimplementedFlowsServer
	store      *flows.Store
	kernelLost func() (lost, limited uint64)
	node       string
	runID      string
	stopping   <-chan struct{}
	review     time.Duration
}

// Watch implements weirv1.FlowsServer.
func (s *flowService) Watch(req *weirv1.WatchRequest, stream grpc.ServerStreamingServer[weirv1.WatchResponse]) error {
	named := namedNamespaces(req)
	scope, err := scopeOf(stream.Context(), named...)
	if err != nil {
		return err
	}
	filter, err := s.compileFilter(req, scope, req.GetSince(), req.GetUntil())
	if err != nil {
		return err
	}
	after, until, err := s.span(req, filter)
	if err != nil {
		return err
	}
	w := &watcher{
		service:      s,
		send:         stream.Send,
		subscription: s.store.Subscribe(filter, after),
		until:        until,
		follow:       req.GetFollow(),
		left:         math.MaxInt,
		kernelBase:   kernelCount(s),
		batch:        make([]*flows.Flow, 0, batchFlows),
		scope:        scope,
		named:        named,
		reviewed:     time.Now(),
	}
	defer w.subscription.Close()
	if n := req.GetLimit(); n > 0 {
		w.left = int(n)
	}
	if req.GetFollow() && req.GetUntil() != nil {
		end := time.NewTimer(time.Until(req.GetUntil().AsTime()) + lateness)
		defer end.Stop()
		w.end = end.C
	}
	return w.run(stream.Context())
}

// span says after which flow a watch begins, and at which it ends (0: none).
func (s *flowService) span(req *weirv1.WatchRequest, filter *flows.Filter) (after, until uint64, err error) {
	oldest, newest := s.store.Bounds()
	if !req.GetFollow() {
		until = newest
	}
	switch {
	case req.GetRunId() == "" && req.GetAfterSequence() != 0:
		return 0, 0, invalid("after_sequence: needs run_id, the run of the agent that gave the sequence")
	case req.GetRunId() == s.runID:
		after = req.GetAfterSequence()
		if after > newest {
			return 0, 0, invalid("after_sequence: %d is beyond the newest flow of this run, %d", after, newest)
		}
	case req.GetLast() > 0:
		after = s.store.LastMatching(filter, int(req.GetLast()))
	case req.GetFollow() && req.GetSince() == nil:
		after = newest
	default:
		after = oldest - 1
	}
	return after, until, nil
}

// watcher is one call of Watch.
type watcher struct {
	service      *flowService
	send         func(*weirv1.WatchResponse) error
	subscription *flows.Subscription
	until        uint64
	follow       bool
	left         int              // flows that may still be sent
	end          <-chan time.Time // when nothing is to be followed any more; nil: never
	kernelBase   kernelLoss
	batch        []*flows.Flow

	// What the reader may see, the namespaces that it named, and when it was last
	// found out.
	scope    *scope
	named    []string
	reviewed time.Time

	said      bool // a response has been sent
	sequence  uint64
	kernel    kernelLoss
	reader    uint64
	lastBatch time.Time
}

func (w *watcher) run(ctx context.Context) error {
	poll := time.NewTicker(lossPoll)
	defer poll.Stop()
	for {
		if err := w.renew(ctx); err != nil {
			return err
		}
		batch, done := w.subscription.Read(w.batch[:0], min(batchFlows, w.left), w.until)
		if err := w.tell(batch); err != nil {
			return err
		}
		clear(batch) // a reader that sleeps keeps no flow alive
		if w.left -= len(batch); w.left == 0 {
			return nil
		}
		if !done {
			continue
		}
		if !w.follow {
			return nil
		}
		if err := w.wait(ctx, poll.C); err != nil {
			return err
		}
	}
}

// renew asks again what the reader may see, once its time is over: a stream may
// be open for days, and its token ends, or its rights are taken back.
func (w *watcher) renew(ctx context.Context) error {
	if callerOf(ctx).local || time.Since(w.reviewed) < w.service.review {
		return nil
	}
	now, err := scopeOf(ctx, w.named...)
	if err != nil {
		return err
	}
	if !now.equal(w.scope) {
		return status.Errorf(codes.Unavailable, "what %s may see has changed; watch again", w.scope.who)
	}
	w.reviewed = time.Now()
	return nil
}

// wait returns when there may be something to tell.
func (w *watcher) wait(ctx context.Context, poll <-chan time.Time) error {
	select {
	case <-w.subscription.Ready():
	case <-poll:
	case <-w.end:
		w.follow = false // one more look
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.service.stopping:
		return errStopping
	}
	rest := batchDelay - time.Since(w.lastBatch)
	if rest <= 0 {
		return nil
	}
	hold := time.NewTimer(rest)
	defer hold.Stop()
	select {
	case <-hold.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.service.stopping:
		return errStopping
	}
}

var errStopping = status.Error(codes.Unavailable, "weir-agent is stopping")

// tell sends a batch, in parts where it is heavy, and what the reader has to
// know besides. Nothing new is not told.
func (w *watcher) tell(batch []*flows.Flow) error {
	response := &weirv1.WatchResponse{}
	size := 0
	for _, f := range batch {
		p := flowProto(f, w.service.node)
		response.Flows = append(response.Flows, p)
		if size += proto.Size(p); size < batchBytes {
			continue
		}
		if err := w.finish(response, f.Sequence); err != nil {
			return err
		}
		response, size = &weirv1.WatchResponse{}, 0
	}
	cursor := w.subscription.Cursor()
	if len(response.Flows) > 0 || w.news(cursor) {
		return w.finish(response, cursor)
	}
	return nil
}

// news: something to tell without a flow. The sequence is told once the filter
// has left out a good part of the store, else a reader that comes back would
// be counted as having missed it.
func (w *watcher) news(cursor uint64) bool {
	return !w.said || w.lossChanged() || cursor-w.sequence > uint64(w.service.store.Capacity()/4)
}

func (w *watcher) lossChanged() bool {
	return w.said && (w.kernelLost() != w.kernel || w.subscription.Missed() != w.reader)
}

// kernelLoss is what the programs did not hand over.
type kernelLoss struct{ full, limited uint64 }

func kernelCount(s *flowService) kernelLoss {
	full, limited := s.kernelLost()
	return kernelLoss{full: full, limited: limited}
}

// kernelLost counts from the beginning of the stream. A count below the base:
// the counters began anew with other programs.
func (w *watcher) kernelLost() kernelLoss {
	now, base := kernelCount(w.service), w.kernelBase
	return kernelLoss{full: now.full - min(base.full, now.full), limited: now.limited - min(base.limited, now.limited)}
}

// finish sends a response with all that goes beside the flows.
func (w *watcher) finish(r *weirv1.WatchResponse, sequence uint64) error {
	r.RunId = w.service.runID
	r.Sequence = sequence
	if !w.said || w.lossChanged() {
		w.kernel, w.reader = w.kernelLost(), w.subscription.Missed()
		r.Loss = &weirv1.Loss{Kernel: w.kernel.full, Limited: w.kernel.limited, Reader: w.reader}
	}
	w.said, w.sequence, w.lastBatch = true, sequence, time.Now()
	return w.send(r)
}
