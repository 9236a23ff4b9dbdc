// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newStatus(s *session, name string) *cobra.Command {
	var form form
	c := &cobra.Command{
		Use:   "status",
		Short: "Shows whether the agent is ready, and what stands in the way",
		Long: `Shows the agent, whether it is ready and which conditions fail, its
endpoints by state, how full its maps are, the events that were lost, which
kernel features it uses, and the programs of others on its hooks.

An agent that is not ready is an answer: the exit code is 0.`,
		Example: examples(name, "status", "status -o json | jq .ready"),
		Args:    positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := form.check(c); err != nil {
				return err
			}
			var answer *pb.StatusResponse
			err := s.call(c.Context(), "", func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Agent.Status(ctx, &pb.StatusRequest{})
				return err
			})
			if err != nil {
				return err
			}
			return form.write(s, answer, func() error { return output.Status(s.out, answer, s.now(), s.style()) })
		},
	}
	form.flag(c)
	return c
}
