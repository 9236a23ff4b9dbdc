// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/merge"
	"github.com/weirnet/weir/cmd/weir/recording"
)

func newRecord(s *session, name string) *cobra.Command {
	var flags observeFlags
	var overwrite bool
	flags.follow = true
	c := &cobra.Command{
		Use:   "record -w FILE",
		Short: "Writes flows to a file, for observe --input-file",
		Long: `Writes flows as they come to a file, until interrupted; with --last, --since or
--all first those that the agent keeps. Each line is a flow as observe -o json
writes it, or {"loss": ...}, what was lost since the beginning. Each batch is
written at once, so a file whose writer is killed lacks at most its last line.
A file that is there already is left alone.

` + filterHelp + `

` + exitCodes,
		Example: examples(name,
			"record -w today.json                      # until interrupted",
			"record -w flows.json --overwrite --count 1000 -n shop",
			"record -w flows.json --overwrite --verdict denied --since 1h --timeout 10m",
			"record -w - --verdict denied | gzip       # to standard output"),
		Args: positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			flags.typed(c.Flags())
			request, err := flags.request(s)
			err = errors.Join(err, flags.check(c.Flags()))
			if flags.file == "" {
				err = errors.Join(err, errors.New("name the file to write: -w FILE, or -w - for standard output"))
			}
			if err != nil {
				return wrong(c, err)
			}
			return s.record(c.Context(), &flags, request, overwrite)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&flags.file, "write", "w", "", "`FILE` to write; - is standard output")
	f.BoolVar(&overwrite, "overwrite", false, "empty a file that is there already")
	flags.selection.register(f)
	flags.expectation.register(f)
	flags.filters.register(f)
	completeFilters(s, c)
	return c
}

// record tells on standard error how many flows the file has got, whatever
// ended it.
func (s *session) record(ctx context.Context, flags *observeFlags, request *pb.WatchRequest, overwrite bool) (err error) {
	to, err := s.create(flags.file, overwrite)
	if err != nil {
		return err
	}
	o := newObservation(s, request, flags.selection, flags.expectation)
	o.write = recording.NewWriter(to).Write
	defer func() {
		if failed := to.Close(); failed != nil && err == nil {
			err = fmt.Errorf("write the recording: %w", failed)
		}
		s.complain("%s recorded", counted(uint64(o.shown), "flow"))
	}()
	return o.run(ctx)
}

func (s *session) create(path string, overwrite bool) (io.WriteCloser, error) {
	if path == "-" {
		return keptOpen{s.out}, nil
	}
	how := os.O_EXCL
	if overwrite {
		how = os.O_TRUNC
	}
	// Flows tell who talks with whom: not everybody's business.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|how, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists: name another file, or use --overwrite", path)
	}
	if err != nil {
		return nil, fmt.Errorf("create the recording: %w", err)
	}
	return file, nil
}

// keptOpen is standard output, which others write to as well.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// replay plays a recording in place of the agent.
func (s *session) replay(path string, request *pb.WatchRequest) func(context.Context) iter.Seq2[merge.Update, error] {
	return func(ctx context.Context) iter.Seq2[merge.Update, error] {
		return func(yield func(merge.Update, error) bool) {
			from := s.in
			if path != "-" {
				file, err := os.Open(path)
				if err != nil {
					yield(merge.Update{}, fmt.Errorf("read the recording: %w", err))
					return
				}
				defer file.Close()
				from = file
			}
			for r, err := range recording.Play(from, request) {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					yield(merge.Update{}, fmt.Errorf("%s: %w", path, err))
					return
				}
				if !yield(merge.Update{Update: client.Update{Response: r}}, nil) {
					return
				}
			}
		}
	}
}
