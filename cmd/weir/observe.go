// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newObserve(s *session, name string) *cobra.Command {
	var flags observeFlags
	c := &cobra.Command{
		Use:   "observe",
		Short: "Shows flows with their verdicts and the rules that decided",
		Long: `Shows flows, oldest first: the last that the agent keeps, or with -f those
that come. A line tells the time, the verdict, who began the flow and with
whom, the protocol, and whose policy decided and why.

Filters: a flow is shown if it meets every flag that is given. A flag with
several values is met by any of them; pods, namespaces, addresses and ports may
stand at either end. With -n, names without a namespace are those of it.

With -f, an agent that goes away is waited for. What was lost on the way is
told on standard error, as is all that is not a flow.`,
		Example: examples(name,
			"observe                                   # the last 20 flows",
			"observe -f                                # flows as they come",
			"observe -f --verdict denied -n shop       # denials, live",
			"observe --since 10m --pod shop/web        # what one pod did",
			"observe --policy shop/allow-app --last 5  # what one policy decided",
			"observe --ip 10.0.0.0/8 --port 443 --protocol tcp",
			"observe -f -o json | jq -c .verdict       # one object a line"),
		Args: positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			flags.lastGiven = c.Flags().Changed("last")
			request, err1 := flags.request(s.now())
			format, err2 := output.ParseFormat(flags.output)
			if err := errors.Join(err1, err2); err != nil {
				return wrong(c, err)
			}
			o := &observation{
				session: s,
				request: request,
				flows:   output.NewFlows(s.out, format, s.style()),
			}
			return o.run(c.Context())
		},
	}
	flags.register(c.Flags())
	return c
}

// observation is one run of observe.
type observation struct {
	*session
	request *pb.WatchRequest
	flows   *output.Flows
	told    loss
	shown   int // flows
}

type loss struct{ kernel, reader uint64 }

// errSilent is the cause with which a watch ends when the agent owes an
// answer for too long.
var errSilent = errors.New("no answer in time")

// run shows flows until there are no more or ctx ends.
func (o *observation) run(ctx context.Context) error {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The agent answers at once, if with nothing. Later silence is an error
	// only where kept flows are due; when following, it is a quiet network.
	patience := time.AfterFunc(o.timeout, func() { cancel(errSilent) })
	defer patience.Stop()

	agent, err := o.dial(watched)
	if err != nil {
		return err
	}
	defer agent.Close()
	for update, err := range agent.WatchReconnect(watched, o.request) {
		if err == nil {
			if o.request.GetFollow() {
				patience.Stop()
			} else {
				patience.Reset(o.timeout)
			}
			err = o.show(update)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(context.Cause(watched), errSilent):
			return fmt.Errorf("weir-agent at %s did not answer within %s; give it longer with --timeout, or see its log", o.socket, o.timeout)
		default:
			return advise(err, "")
		}
	}
	if o.shown == 0 {
		o.complain("no flow that the agent keeps is asked for by these flags; -f waits for new ones")
	}
	return nil
}

func (o *observation) show(u client.Update) error {
	switch {
	case u.Lost != nil:
		o.complain("lost the agent: %s; looking for it until interrupted", output.Escape(u.Lost.Err.Error()))
	case u.Restored != nil && u.Restored.NewRun:
		o.complain("the agent is back after %s, restarted; nobody saw what happened while it was away", away(u.Restored.After))
	case u.Restored != nil:
		o.complain("connected to the agent again after %s", away(u.Restored.After))
	case u.Response != nil:
		o.losses(u.Response.GetLoss())
		o.shown += len(u.Response.GetFlows())
		return o.flows.Write(u.Response.GetFlows())
	}
	return nil
}

// losses tells what was lost since it was last told.
func (o *observation) losses(l *pb.Loss) {
	if l == nil {
		return
	}
	if n := l.GetKernel() - o.told.kernel; l.GetKernel() > o.told.kernel {
		o.complain("%s lost in the kernel", counted(n, "event"))
	}
	if n := l.GetReader() - o.told.reader; l.GetReader() > o.told.reader {
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
