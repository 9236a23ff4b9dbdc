// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// Update is one thing that WatchReconnect tells. Exactly one field is set.
type Update struct {
	// Response as the agent sent it, except that its Loss counts from the
	// beginning of the whole watch, over all connections.
	Response *weirv1.WatchResponse
	// Lost: the agent went away. Told once, however many attempts fail.
	Lost *Lost
	// Restored: it is back.
	Restored *Restored
}

// Lost says why the agent went away, and when the first attempt to find it
// again is made.
type Lost struct {
	Err     error
	RetryIn time.Duration
}

// Restored says how long the agent was away, and whether it is another run of
// it. The same run goes on where it left off; of another run all flows that it
// kept are told. What happened while no agent ran was seen by nobody.
type Restored struct {
	After  time.Duration
	NewRun bool
}

// WatchReconnect watches flows as req asks. With Follow, an agent that goes
// away is told and looked for until it is back or ctx ends; only the first
// connection must succeed. The sequence ends after an error, and without one
// when the watch is through: it does not follow, its limit is reached (over all
// connections), or the time that it runs until is over. The end of ctx is an
// error that errors.Is knows as context.Canceled or context.DeadlineExceeded.
func (c *Client) WatchReconnect(ctx context.Context, req *weirv1.WatchRequest) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		w := &watch{client: c, request: proto.CloneOf(req), yield: yield}
		if err := w.run(ctx); err != nil && !w.stopped {
			yield(Update{}, err)
		}
	}
}

// watch is one WatchReconnect from its beginning to its end.
type watch struct {
	client  *Client
	request *weirv1.WatchRequest
	yield   func(Update, error) bool
	stopped bool // the caller has left the loop

	runID    string
	sequence uint64
	refused  bool      // the last token was, and no answer came since
	told     uint32    // flows, over all connections
	lostAt   time.Time // zero: connected, or never was
	// Losses of the connections before this one, and of this one.
	before, now lossCount
}

type lossCount struct{ kernel, reader, limited uint64 }

var errStopped = errors.New("the reader has left")

// run returns nil when the watch is through.
func (w *watch) run(ctx context.Context) error {
	wait := w.client.options.BackoffMin
	for {
		told, err := w.connection(ctx)
		switch {
		case err == nil && !w.request.Follow, w.stopped, w.through(err):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !w.request.Follow, w.runID == "", err != nil && !retryable(err) && !w.renewable(err):
			return err
		}
		if told {
			wait = w.client.options.BackoffMin
		}
		if w.renewable(err) {
			w.refused = true // twice in a row is an answer
			continue
		}
		if !w.lost(err, wait) {
			return nil
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, w.client.options.BackoffMax)
	}
}

// through: nothing that was asked for can come any more. An agent that ends a
// stream in good order before that is on its way out.
func (w *watch) through(err error) bool {
	if limit := w.request.Limit; limit > 0 && w.told >= limit {
		return true
	}
	until := w.request.Until
	return err == nil && until != nil && !time.Now().Before(until.AsTime())
}

// connection watches over one connection, and reports whether the agent said
// anything. nil: the agent ended the stream in good order.
func (w *watch) connection(ctx context.Context) (told bool, err error) {
	if err := w.client.probe(ctx); err != nil {
		return false, err
	}
	w.before.kernel += w.now.kernel
	w.before.reader += w.now.reader
	w.before.limited += w.now.limited
	w.now = lossCount{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.client.conn.ResetConnectBackoff()
	stream, err := w.client.Flows.Watch(ctx, w.resumed())
	if err != nil {
		return false, err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return told, nil
		}
		if err != nil {
			return told, err
		}
		w.refused = false
		if !w.tell(response) {
			return true, errStopped
		}
		told = true
	}
}

// resumed is the request that goes on where the last connection ended. To
// another run of the agent it says: everything that you kept, since all of it
// came after what was seen.
func (w *watch) resumed() *weirv1.WatchRequest {
	if w.runID == "" {
		return w.request
	}
	r := proto.CloneOf(w.request)
	r.RunId, r.AfterSequence, r.Last = w.runID, w.sequence, 0
	if r.Limit > 0 {
		r.Limit -= w.told
	}
	if r.Since == nil {
		r.Since = &timestamppb.Timestamp{}
	}
	return r
}

// tell hands a response on, after the news that the agent is back.
func (w *watch) tell(r *weirv1.WatchResponse) bool {
	if !w.lostAt.IsZero() {
		back := &Restored{After: time.Since(w.lostAt), NewRun: r.RunId != w.runID}
		w.lostAt = time.Time{}
		if !w.give(Update{Restored: back}) {
			return false
		}
	}
	w.runID, w.sequence = r.RunId, r.Sequence
	w.told += uint32(len(r.Flows))
	if r.Loss != nil {
		w.now = lossCount{kernel: r.Loss.Kernel, reader: r.Loss.Reader, limited: r.Loss.Limited}
		r.Loss.Kernel += w.before.kernel
		r.Loss.Reader += w.before.reader
		r.Loss.Limited += w.before.limited
	}
	return w.give(Update{Response: r})
}

// lost tells of the loss, the first time.
func (w *watch) lost(err error, wait time.Duration) bool {
	if !w.lostAt.IsZero() {
		return true
	}
	if err == nil {
		err = errors.New("weir-agent ended the watch")
	}
	w.lostAt = time.Now()
	return w.give(Update{Lost: &Lost{Err: err, RetryIn: wait}})
}

func (w *watch) give(u Update) bool {
	w.stopped = !w.yield(u, nil)
	return !w.stopped
}

// retryable: the agent is away or on its way out. Another answer (a filter
// that it does not take) would be the same next time.
func retryable(err error) bool {
	var call *CallError
	if !errors.As(err, &call) {
		return !errors.Is(err, context.Canceled)
	}
	return status.Code(err) == codes.Unavailable
}

// renewable: the token has come to its end, and the next attempt has another.
func (w *watch) renewable(err error) bool {
	return status.Code(err) == codes.Unauthenticated && w.client.options.Refused != nil && !w.refused
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
