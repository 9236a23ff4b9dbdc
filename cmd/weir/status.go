// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

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
kernel features it uses, and the programs of others on its hooks. Of several
agents of a cluster there is a line each: how full the fuller ring of events is,
and whether allowed flows are sampled; --node shows one in full. To a viewer of
one namespace conditions are told without their details.

An agent that is not ready is an answer: the exit code is 0.`,
		Example: examples(name, "status", "status -o json | jq .ready", "status --context prod"),
		Args:    positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := form.check(c); err != nil {
				return err
			}
			answers, partial, err := askAll(c.Context(), s, nil, "", func(ctx context.Context, agent *client.Client) (*pb.StatusResponse, error) {
				return agent.Agent.Status(ctx, &pb.StatusRequest{})
			})
			if err != nil {
				return err
			}
			var list []*pb.StatusResponse
			for _, a := range answers {
				list = append(list, a.value)
			}
			return errors.Join(s.statuses(&form, list), incomplete(partial))
		},
	}
	form.flag(c)
	return c
}

// statuses shows one agent in full, and several in a table.
func (s *session) statuses(form *form, list []*pb.StatusResponse) error {
	if form.name == "text" && len(list) > 1 {
		return output.Nodes(s.out, list, s.style())
	}
	for _, answer := range list {
		if err := form.write(s, answer, func() error { return output.Status(s.out, answer, s.now(), s.style()) }); err != nil {
			return err
		}
	}
	return nil
}
