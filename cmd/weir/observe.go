// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

const filterHelp = `Filters: a flow is shown if it meets every flag that is given. A flag with
several values, or given several times, is met by any of them. --not turns the
next filter round: no flow that meets it is shown. The source of a flow sent its
first packet. Flags without from and to are met at either end, each by itself; --label and --workload by one pod together,
in a namespace of -n. Names without a namespace are of those of -n, or of
--from-namespace and --to-namespace for their side. The address, port and
namespace of a Service count as destination beside those of the backend.`

// observeFlags are the flags of observe as they were typed.
type observeFlags struct {
	selection
	expectation
	filters filterFlags
	output  string
	file    string
}

func newObserve(s *session, name string) *cobra.Command {
	var flags observeFlags
	c := &cobra.Command{
		Use:   "observe",
		Short: "Shows flows with their verdicts and the rules that decided",
		Long: `Shows flows, oldest first: the last that the agent keeps, or with -f those
that come. A line tells the time, the verdict, who began the flow and with
whom, the protocol, and whose policy decided and why. A flow has a line when it
begins, one every 30 s, and one when it ends, which tell packets, bytes and
duration; --kind new shows the first alone.

` + filterHelp + `

With -f, an agent that goes away is waited for. What was lost on the way is
told on standard error, as is all that is not a flow.

` + exitCodes,
		Example: examples(name,
			"observe                                   # the last 20 flows",
			"observe -f                                # flows as they come",
			"observe -f --verdict denied -n shop       # denials, live",
			"observe --since 10m --pod shop/web        # what one pod did",
			"observe --from-pod shop/web --to-service shop/db --port 5432",
			"observe --to-identity world --not --port 53,443",
			"observe --policy shop/allow-app --last 5  # what one policy decided",
			"observe --rule shop/allow-app:ingress:0 --kind closed --all",
			"observe --ip 10.0.0.0/8 --port 443 --protocol tcp",
			"observe -f --verdict denied --fail-on-match --timeout 1m  # in a test",
			"observe -f -o json | jq -c .verdict       # one object a line",
			"observe --input-file flows.json -o table  # what record wrote"),
		Args: positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			flags.typed(c.Flags())
			request, err := flags.request(s)
			format, err2 := output.ParseFormat(flags.output)
			err = errors.Join(err, flags.check(c.Flags()), err2)
			if flags.file != "" && flags.follow {
				err = errors.Join(err, errors.New("--input-file: a file is read to its end; leave out -f"))
			}
			if err != nil {
				return wrong(c, err)
			}
			flows := output.NewFlows(s.out, format, s.style())
			o := newObservation(s, request, flags.selection, flags.expectation)
			o.write = func(r *pb.WatchResponse) error { return flows.Write(r.GetFlows()) }
			if flags.file != "" {
				o.updates, o.hint = s.replay(flags.file, request), ""
			}
			return o.run(c.Context())
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVarP(&flags.follow, "follow", "f", false, "show flows as they come, until interrupted")
	flags.selection.register(f)
	flags.expectation.register(f)
	f.StringVarP(&flags.output, "output", "o", "compact", "`FORMAT`: compact; wide, with interface, TCP flags, length and reason code; table; dict; json or jsonl, one object a line; or yaml")
	f.StringVar(&flags.file, "input-file", "", "show the flows of this `FILE`, which record or -o json wrote, in place of the agent's, all unless --first or --last is given; - is standard input")
	flags.filters.register(f)
	completeFilters(s, c)
	completeWith(c, "output", output.Formats()...)
	return c
}

// request is what the agent is asked. Its error names every flag that cannot
// be read.
func (f *observeFlags) request(s *session) (*pb.WatchRequest, error) {
	q, err := f.filters.question()
	r := &pb.WatchRequest{Filter: q.filter, Include: q.include, Exclude: q.exclude}
	err = errors.Join(err, f.fill(r, s.now()))
	if f.file != "" && !f.follow && !f.lastGiven {
		r.Last = 0 // a file is as long as somebody wanted it
	}
	return r, err
}
