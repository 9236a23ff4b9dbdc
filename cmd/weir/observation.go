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
	"github.com/weirnet/weir/cmd/weir/merge"
	"github.com/weirnet/weir/cmd/weir/output"
	"github.com/weirnet/weir/cmd/weir/recording"
)

// observation is one run of observe or record.
type observation struct {
	*session
	request *pb.WatchRequest
	// updates is where flows come from, until ctx ends.
	updates func(ctx context.Context) iter.Seq2[merge.Update, error]
	// write is where they go to.
	write func(*pb.WatchResponse) error
	// hint says what to do when there was no flow.
	hint string
	expectation
	progress
	told map[string]loss // by node
}

type loss struct{ kernel, reader, limited uint64 }

// Causes with which an observation ends before its source does.
var (
	// errSilent: the agent owes an answer for too long.
	errSilent = errors.New("no answer in time")
	errTimeUp = errors.New("--timeout is over")
)

func newObservation(s *session, r *pb.WatchRequest, selected selection, e expectation) *observation {
	o := &observation{session: s, request: r, expectation: e, told: map[string]loss{}}
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

// watch reads from all agents that are asked.
func (o *observation) watch(ctx context.Context) iter.Seq2[merge.Update, error] {
	return func(yield func(merge.Update, error) bool) {
		all, err := o.who(ctx, nodesOf(o.request.GetFilter()), viewedBy(o.request.GetFilter()))
		if err != nil {
			yield(merge.Update{}, err)
			return
		}
		if o.tellMissing(all.missing); len(all.missing) > 0 {
			o.partial = true
		}
		var sources []merge.Source
		for _, a := range all.list {
			sources = append(sources, merge.Source{Node: a.node, Updates: func(ctx context.Context) iter.Seq2[client.Update, error] {
				return o.watchOne(ctx, a.options)
			}})
		}
		options := merge.Options{}
		if len(sources) > 1 {
			if o.request.GetFollow() {
				options.Window = mergeWindow
			} else {
				options.Last = int(o.request.GetLast())
			}
		}
		failed := 0
		for update, err := range merge.Streams(ctx, sources, options) {
			if update.Missing != nil {
				// The last one that fails is the command's own failure, if
				// there was nothing else.
				if failed++; failed == len(sources) {
					err = update.Missing
				}
			}
			if !yield(update, err) || err != nil {
				return
			}
		}
	}
}

// watchOne reads from one agent. It answers at once, if with nothing. Later
// silence is an error only where kept flows are due; when following, it is a
// quiet network.
func (o *observation) watchOne(ctx context.Context, options client.Options) iter.Seq2[client.Update, error] {
	return func(yield func(client.Update, error) bool) {
		watched, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		patience := time.AfterFunc(o.requestTimeout, func() { cancel(errSilent) })
		defer patience.Stop()
		agent, err := client.Dial(watched, options)
		if err == nil {
			defer agent.Close()
			for update, failed := range agent.WatchReconnect(watched, o.request) {
				if err = failed; err != nil {
					break
				}
				patience.Stop() // while the reader takes it, e.g. a pager
				if !yield(update, nil) {
					return
				}
				if !o.request.GetFollow() {
					patience.Reset(o.requestTimeout)
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(context.Cause(watched), errSilent):
			where := "at " + options.Socket
			if options.Connect != nil {
				where = "on " + options.Name
			}
			yield(client.Update{}, fmt.Errorf("weir-agent %s did not answer within %s; give it longer with --request-timeout, or see its log", where, o.requestTimeout))
		default:
			yield(client.Update{}, advise(err, ""))
		}
	}
}

func (o *observation) show(u merge.Update) error {
	of := ""
	if u.Node != "" {
		of = " of node " + output.Escape(u.Node)
	}
	switch {
	case u.Missing != nil:
		o.partial = true
		o.complain("node %s is missing: %s", output.Escape(u.Node), output.Escape(u.Missing.Error()))
	case u.Lost != nil:
		o.complain("lost the agent%s: %s; looking for it until interrupted", of, output.Escape(u.Lost.Err.Error()))
	case u.Restored != nil && u.Restored.NewRun:
		o.partial = true
		o.complain("the agent%s is back after %s, restarted; nobody saw what happened while it was away", of, away(u.Restored.After))
	case u.Restored != nil:
		o.complain("connected to the agent%s again after %s", of, away(u.Restored.After))
	case u.Response != nil:
		return o.showResponse(u.Node, u.Response)
	}
	return nil
}

func (o *observation) showResponse(node string, r *pb.WatchResponse) error {
	if o.losses(node, r.GetLoss()); r.GetLoss() != nil {
		r.Loss = o.lossOfAll()
	}
	if limit := o.request.GetLimit(); limit > 0 && uint32(len(r.GetFlows())) > limit-o.shown {
		r.Flows = r.Flows[:limit-o.shown]
	}
	o.shown += uint32(len(r.GetFlows()))
	return o.write(r)
}

// losses tells what a node has lost since it was last told.
func (o *observation) losses(node string, l *pb.Loss) {
	if l == nil {
		return
	}
	of := ""
	if node != "" {
		of = " of node " + output.Escape(node)
	}
	told := o.told[node]
	if n := l.GetKernel() - told.kernel; l.GetKernel() > told.kernel {
		o.partial = true
		o.complain("%s lost in the kernel%s", counted(n, "event"), of)
	}
	if n := l.GetReader() - told.reader; l.GetReader() > told.reader {
		o.partial = true
		o.complain("%s missed by this reader%s", counted(n, "flow"), of)
	}
	if n := l.GetLimited() - told.limited; l.GetLimited() > told.limited {
		o.partial = true
		o.complain("%s counted but not told%s: a pod had more than its share", counted(n, "event"), of)
	}
	o.told[node] = loss{kernel: l.GetKernel(), reader: l.GetReader(), limited: l.GetLimited()}
}

// lossOfAll is what a recording holds: one loss of one reader.
func (o *observation) lossOfAll() *pb.Loss {
	all := &pb.Loss{}
	for _, l := range o.told {
		all.Kernel += l.kernel
		all.Reader += l.reader
		all.Limited += l.limited
	}
	return all
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func away(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
