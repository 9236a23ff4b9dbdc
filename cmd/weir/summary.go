// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/merge"
	"github.com/weirnet/weir/cmd/weir/output"
)

// summaryFlags are what top and drops have in common.
type summaryFlags struct {
	form
	window
	filters     filterFlags
	top         uint32
	failIfEmpty bool
}

func (f *summaryFlags) register(s *session, c *cobra.Command) {
	flags := c.Flags()
	flags.SortFlags = false
	f.window.register(flags)
	flags.Uint32Var(&f.top, "top", 20, "show the first `N` groups, up to 10000")
	flags.BoolVar(&f.failIfEmpty, "exit-nonzero-if-empty", false, "end with exit code 3 if there is nothing to show")
	f.form.flag(c)
	f.filters.register(flags)
	completeFilters(s, c)
}

// request asks for groups by some keys. Its error names every flag that cannot
// be read.
func (f *summaryFlags) request(now time.Time, by []pb.SummaryKey, order pb.SummaryOrder) (*pb.SummarizeRequest, error) {
	q, err := f.filters.question()
	since, until, err2 := f.window.read(now, false)
	var err3 error
	if f.top < 1 || f.top > 10000 {
		err3 = fmt.Errorf("--top %d is not 1 to 10000", f.top)
	}
	return &pb.SummarizeRequest{
		By: by, Order: order, Top: f.top, Since: since, Until: until,
		Filter: q.filter, Include: q.include, Exclude: q.exclude,
	}, errors.Join(err, err2, err3)
}

// summarize asks all agents; partial: not all of them answered.
func (s *session) summarize(ctx context.Context, r *pb.SummarizeRequest) (sum *pb.SummarizeResponse, partial bool, err error) {
	ask := r
	if s.inCluster() {
		ask = proto.CloneOf(r)
		ask.Top = merge.Most
	}
	answers, partial, err := askNodes(ctx, s, nodesOf(r.GetFilter()), viewedBy(r.GetFilter()), "", func(ctx context.Context, agent *client.Client) (*pb.SummarizeResponse, error) {
		return agent.Flows.Summarize(ctx, ask)
	})
	if err != nil {
		return nil, false, err
	}
	if ask == r {
		return answers[0].value, false, nil
	}
	var list []*pb.SummarizeResponse
	for _, a := range answers {
		list = append(list, a.value)
	}
	return merge.Summaries(list, r.GetOrder(), int(r.GetTop())), partial, nil
}

// finish tells what is not in an answer, and gives the exit code.
func (f *summaryFlags) finish(s *session, answer *pb.SummarizeResponse, partial bool) error {
	if n := answer.GetMissed(); n > 0 {
		s.complain("%s overwritten while they were counted", counted(n, "flow"))
		partial = true
	}
	if partial {
		return &outcome{code: exitPartial}
	}
	if f.failIfEmpty && len(answer.GetGroups()) == 0 {
		return &outcome{code: exitEmpty}
	}
	return nil
}

func newDrops(s *session, name string) *cobra.Command {
	var flags summaryFlags
	c := &cobra.Command{
		Use:   "drops",
		Short: "Shows who was denied what, how often, and which rule came closest",
		Long: `Shows the denied flows that the agent keeps, and those that audit mode let
pass, in groups: who, whither, which port, why, and the rule that came closest
to allowing it. Denials are packets that were told of, with their repeats; what
the kernel held back or lost is not among them (the metric
weir_dropped_packets_total is exact).

` + filterHelp + `

` + exitCodes,
		Example: examples(name,
			"drops                          # all that is kept, the most denied first",
			"drops -n shop --since 10m",
			"drops --not --reason spoofed --order newest",
			"drops --exit-nonzero-if-empty -o json"),
		Args: positional(cobra.NoArgs, "no argument"),
	}
	order := c.Flags().String("order", "denials", "what comes first: denials or newest")
	c.RunE = func(c *cobra.Command, _ []string) error {
		request, err := flags.request(s.now(), output.DropKeys(), 0)
		if err == nil {
			request.Order, err = parseOrder(*order)
		}
		if err = errors.Join(err, flags.form.check(c)); err != nil {
			return wrong(c, err)
		}
		if len(request.Filter.Verdicts) == 0 {
			request.Filter.Verdicts = []pb.Verdict{pb.Verdict_VERDICT_DENIED, pb.Verdict_VERDICT_AUDITED}
		}
		answer, partial, err := s.summarize(c.Context(), request)
		if err != nil {
			return err
		}
		err = flags.write(s, answer, func() error { return output.Drops(s.out, answer, s.style()) })
		if err != nil {
			return err
		}
		return flags.finish(s, answer, partial)
	}
	flags.register(s, c)
	completeWith(c, "order", "denials", "newest")
	return c
}

func parseOrder(text string) (pb.SummaryOrder, error) {
	if text == "flows" {
		return pb.SummaryOrder_SUMMARY_ORDER_UNSPECIFIED, nil
	}
	order, err := parseEnum[pb.SummaryOrder]("an order", "SUMMARY_ORDER_", pb.SummaryOrder_name, text)
	if err != nil {
		return 0, fmt.Errorf("--order: %q is not an order; use flows, %s", text, alternatives(enumNames("SUMMARY_ORDER_", pb.SummaryOrder_name)))
	}
	return order, nil
}

// summaryWords are the keys as --by takes them.
func summaryWords() []string {
	return []string{"src", "dst", "port", "verdict", "policy", "rule", "reason", "direction",
		"src-workload", "dst-workload", "src-namespace", "dst-namespace"}
}

// parseKeys reads "src,dst,port".
func parseKeys(text string) ([]pb.SummaryKey, error) {
	var by []pb.SummaryKey
	for word := range strings.SplitSeq(text, ",") {
		// The words stand in the order of the enum, which begins at 1.
		at := slices.Index(summaryWords(), word)
		if at < 0 {
			return nil, fmt.Errorf("--by: %q is no key; use %s", word, alternatives(summaryWords()))
		}
		key := pb.SummaryKey(at + 1)
		if slices.Contains(by, key) {
			return nil, fmt.Errorf("--by: %s stands there twice", word)
		}
		by = append(by, key)
	}
	return by, nil
}
