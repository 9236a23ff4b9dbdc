// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newEndpoints(s *session, name string) *cobra.Command {
	var form form
	var namespace string
	c := &cobra.Command{
		Use:   "endpoints",
		Short: "Lists the pod interfaces of this node and their state",
		Long: `Lists the pod interfaces of this node: whose they are, whether policy is
enforced there, by which policies, and if not, why not.

States: enforced; audited (denials pass and are told); notready (policy is not
complete yet); unenforceable (the pod's packets bypass the place where weir
stands); unmanaged (no pod of this node).`,
		Example: examples(name, "endpoints", "endpoints -n shop"),
		Args:    positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := form.check(c); err != nil {
				return err
			}
			var answer *pb.EndpointsResponse
			err := s.call(c.Context(), "", func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Agent.Endpoints(ctx, &pb.EndpointsRequest{})
				return err
			})
			if err != nil {
				return err
			}
			if namespace != "" {
				answer.Endpoints = slices.DeleteFunc(answer.Endpoints, func(e *pb.Endpoint) bool {
					return e.GetNamespace() != namespace
				})
			}
			return form.write(s, answer, func() error { return output.Endpoints(s.out, answer.GetEndpoints(), s.style()) })
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "only pods of this namespace")
	complete(c, "namespace", s.ask(namespaces))
	form.flag(c)
	return c
}
