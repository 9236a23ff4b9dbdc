// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

// topFlags are the flags of top as they were typed.
type topFlags struct {
	summaryFlags
	by       string
	order    string
	interval time.Duration
	once     bool
}

func newTop(s *session, name string) *cobra.Command {
	var flags topFlags
	c := &cobra.Command{
		Use:   "top",
		Short: "Shows who talks with whom the most",
		Long: `Counts the flows that the agent keeps in groups, those with the most first. On a
terminal the table is shown again every --interval, until interrupted; elsewhere,
with --once or -o json it is shown once.

FLOWS are allowed and audited ones, each counted once; DENIALS are packets that
were told of, with their repeats. Packets and bytes are those of flows of which a
record with totals is kept: they are told every 30 s and at the end.

` + filterHelp + `

` + exitCodes,
		Example: examples(name,
			"top                                       # refreshed until interrupted",
			"top --by src-workload,dst-workload --order bytes",
			"top --by policy,verdict --since 5m --once",
			"top --by rule --namespace shop -o json"),
		Args: positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			by, err := parseKeys(flags.by)
			order, err2 := parseOrder(flags.order)
			_, err3 := flags.request(s.now(), by, order)
			err = errors.Join(err, err2, err3, flags.form.check(c))
			if flags.interval < 100*time.Millisecond {
				err = errors.Join(err, fmt.Errorf("--interval %s is below 100ms", flags.interval))
			}
			if err != nil {
				return wrong(c, err)
			}
			if s.terminal && !flags.once && flags.form.name == "text" {
				return s.refresh(c.Context(), &flags, by, order)
			}
			return s.topOnce(c.Context(), &flags, by, order)
		},
	}
	flags.registerTop(s, c)
	return c
}

func (f *topFlags) registerTop(s *session, c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.by, "by", "src,dst,port,verdict", "what flows of a group have in common: `KEYS` out of "+strings.Join(summaryWords(), ", "))
	flags.StringVar(&f.order, "order", "flows", "what comes first: flows, packets, bytes, denials or newest")
	flags.DurationVar(&f.interval, "interval", 2*time.Second, "how often a terminal is refreshed")
	flags.BoolVar(&f.once, "once", false, "show it once, on a terminal too")
	f.summaryFlags.register(s, c)
	completeWith(c, "by", summaryWords()...)
	completeWith(c, "order", "flows", "packets", "bytes", "denials", "newest")
}

func (s *session) topOnce(ctx context.Context, f *topFlags, by []pb.SummaryKey, order pb.SummaryOrder) error {
	answer, partial, err := s.top(ctx, f, by, order)
	if err != nil {
		return err
	}
	err = f.write(s, answer, func() error { return output.Top(s.out, answer, by, s.style()) })
	if err != nil {
		return err
	}
	return f.finish(s, answer, partial)
}

// top asks anew each time: --since 5m moves along.
func (s *session) top(ctx context.Context, f *topFlags, by []pb.SummaryKey, order pb.SummaryOrder) (*pb.SummarizeResponse, bool, error) {
	request, err := f.request(s.now(), by, order)
	if err != nil {
		return nil, false, err
	}
	return s.summarize(ctx, request)
}

const (
	// clearScreen also drops what is left of a longer picture.
	clearScreen = "\x1b[H\x1b[2J"
	// besideTable are the lines of a picture that are no groups: title, header,
	// total, and the one on which the cursor stands.
	besideTable = 4
)

// refresh shows the table again and again until ctx ends. An agent that goes
// away is told in place of the table; one that never was there is an error.
func (s *session) refresh(ctx context.Context, f *topFlags, by []pb.SummaryKey, order pb.SummaryOrder) error {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for shown := false; ; shown = true {
		if _, lines := s.size(); lines > besideTable {
			f.summaryFlags.top = min(f.summaryFlags.top, uint32(lines-besideTable))
		}
		answer, _, err := s.top(ctx, f, by, order)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !shown {
			return err
		}
		if err := s.picture(f, answer, err, by); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// picture is written in one piece, or the terminal flickers.
func (s *session) picture(f *topFlags, answer *pb.SummarizeResponse, failed error, by []pb.SummaryKey) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s  every %s, by %s\n", clearScreen, s.style().Clock(s.now()), f.interval, f.by)
	if failed != nil {
		for line := range strings.Lines(failed.Error()) { // of each agent, one
			fmt.Fprintf(&b, "%s\n", output.Escape(strings.TrimSuffix(line, "\n")))
		}
	} else if err := output.Top(&b, answer, by, s.style()); err != nil {
		return err
	}
	if _, err := io.WriteString(s.out, b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
