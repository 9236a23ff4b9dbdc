// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
	"github.com/weirnet/weir/cmd/weir/recording"
)

// observation is one run of observe or record.
type observation struct {
	*session
	request *pb.WatchRequest
	// updates is where flows come from, until ctx ends.
	updates func(ctx context.Context) iter.Seq2[client.Update, error]
	// write is where they go to.
	write func(*pb.WatchResponse) error
	// hint says what to do when there was no flow.
	hint string
	expectation
	progress
	told loss
}

type loss struct{ kernel, reader uint64 }

// Causes with which an observation ends before its source does.
var (
	// errSilent: the agent owes an answer for too long.
	errSilent = errors.New("no answer in time")
	errTimeUp = errors.New("--timeout is over")
)

func newObservation(s *session, r *pb.WatchRequest, selected selection, e expectation) *observation {
	o := &observation{session: s, request: r, expectation: e}
	o.wanted = selected.count
	o.updates = o.watch
	if !selected.follow {
		o.hint = "; -f waits for new ones"
	}
	return o
}

// run shows flows until there are no more, as many as asked for were shown,
// the time is up, or ctx ends.
func (o *observation) run(ctx context.Context) error {
	observing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.timeout > 0 {
		end := time.AfterFunc(o.timeout, func() { cancel(errTimeUp) })
		defer end.Stop()
	}
	for update, err := range o.updates(observing) {
		if err == nil {
			if err = o.show(update); err != nil {
				return err
			}
			if o.enough() {
				break
			}
			continue
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(context.Cause(observing), errTimeUp):
			o.timeUp = true
		case errors.Is(err, recording.ErrCutOff):
			o.complain("%s", output.Escape(err.Error()))
			o.partial = true
		default:
			return err
		}
	}
	if o.shown == 0 && !o.timeUp && !o.failIfEmpty && !o.failOnMatch {
		o.complain("no flow that is kept is asked for by these flags%s", o.hint)
	}
	return o.outcome(o.progress)
}

// enough: nothing that comes later changes the outcome, or is asked for.
func (o *observation) enough() bool {
	limit := o.request.GetLimit()
	return limit > 0 && o.shown >= limit || o.failOnMatch && o.shown > 0
}

// watch reads from the agent. It answers at once, if with nothing. Later
// silence is an error only where kept flows are due; when following, it is a
// quiet network.
func (o *observation) watch(ctx context.Context) iter.Seq2[client.Update, error] {
	return func(yield func(client.Update, error) bool) {
		watched, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		patience := time.AfterFunc(o.requestTimeout, func() { cancel(errSilent) })
		defer patience.Stop()
		explain := func(err error) error {
			if errors.Is(context.Cause(watched), errSilent) {
				return fmt.Errorf("weir-agent at %s did not answer within %s; give it longer with --request-timeout, or see its log", o.socket, o.requestTimeout)
			}
			return advise(err, "")
		}
		agent, err := o.dial(watched)
		if err != nil {
			yield(client.Update{}, explain(err))
			return
		}
		defer agent.Close()
		for update, err := range agent.WatchReconnect(watched, o.request) {
			if err != nil {
				yield(client.Update{}, explain(err))
				return
			}
			if o.request.GetFollow() {
				patience.Stop()
			} else {
				patience.Reset(o.requestTimeout)
			}
			if !yield(update, nil) {
				return
			}
		}
	}
}

func (o *observation) show(u client.Update) error {
	switch {
	case u.Lost != nil:
		o.complain("lost the agent: %s; looking for it until interrupted", output.Escape(u.Lost.Err.Error()))
	case u.Restored != nil && u.Restored.NewRun:
		o.partial = true
		o.complain("the agent is back after %s, restarted; nobody saw what happened while it was away", away(u.Restored.After))
	case u.Restored != nil:
		o.complain("connected to the agent again after %s", away(u.Restored.After))
	case u.Response != nil:
		return o.showResponse(u.Response)
	}
	return nil
}

func (o *observation) showResponse(r *pb.WatchResponse) error {
	o.losses(r.GetLoss())
	if limit := o.request.GetLimit(); limit > 0 && uint32(len(r.GetFlows())) > limit-o.shown {
		r.Flows = r.Flows[:limit-o.shown]
	}
	o.shown += uint32(len(r.GetFlows()))
	return o.write(r)
}

// losses tells what was lost since it was last told.
func (o *observation) losses(l *pb.Loss) {
	if l == nil {
		return
	}
	if n := l.GetKernel() - o.told.kernel; l.GetKernel() > o.told.kernel {
		o.partial = true
		o.complain("%s lost in the kernel", counted(n, "event"))
	}
	if n := l.GetReader() - o.told.reader; l.GetReader() > o.told.reader {
		o.partial = true
		o.complain("%s missed by this reader", counted(n, "flow"))
	}
	o.told = loss{kernel: l.GetKernel(), reader: l.GetReader()}
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func away(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
