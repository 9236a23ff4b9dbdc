// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newPolicy(s *session, name string) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Lists and shows the policies that agents hold, and where they are in force",
		Args:  noSuchCommand,

		SuggestionsMinimumDistance: 2,

		RunE: func(c *cobra.Command, _ []string) error {
			return wrong(c, errors.New("policy needs to know what to do: list, show or status"))
		},
	}
	c.AddCommand(newPolicyList(s, name), newPolicyShow(s, name), newPolicyStatus(s, name))
	return c
}

func newPolicyList(s *session, name string) *cobra.Command {
	var form form
	var namespace string
	c := &cobra.Command{
		Use:     "list",
		Short:   "Lists policies, whom they select, and how many problems they have",
		Example: examples(name, "policy list", "policy list -n shop"),
		Args:    positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := form.check(c); err != nil {
				return err
			}
			var answer *pb.ListPoliciesResponse
			err := s.call(c.Context(), "", func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Policies.List(ctx, &pb.ListPoliciesRequest{Namespace: namespace})
				return err
			})
			if err != nil {
				return err
			}
			return form.write(s, answer, func() error { return output.Policies(s.out, answer.GetPolicies(), s.style()) })
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "only policies of this namespace")
	complete(c, "namespace", s.ask(namespaces))
	form.flag(c)
	return c
}

func newPolicyShow(s *session, name string) *cobra.Command {
	var form form
	var namespace string
	c := &cobra.Command{
		Use:   "show NAMESPACE/NAME",
		Short: "Shows one policy: its rules, its pods on this node, its problems",
		Long: `Shows one policy: its rules in text, the pods of this node that it selects,
and what of it is unusable. An unusable rule allows nothing; the rest of the
policy holds.`,
		Example: examples(name, "policy show shop/allow-app", "policy show -n shop allow-app"),
		Args:    positional(cobra.ExactArgs(1), "one policy, NAMESPACE/NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := objectName(args[0], namespace)
			if err = errors.Join(err, form.check(c)); err != nil {
				return wrong(c, err)
			}
			var answer *pb.GetPolicyResponse
			hint := fmt.Sprintf("%s policy list -n %s shows what there is", name, ref.GetNamespace())
			err = s.call(c.Context(), hint, func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Policies.Get(ctx, &pb.GetPolicyRequest{
					Namespace: ref.GetNamespace(), Name: ref.GetName()})
				return err
			})
			if err != nil {
				return err
			}
			return form.write(s, answer.GetPolicy(), func() error { return output.Policy(s.out, answer.GetPolicy(), s.style()) })
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of a NAME without one")
	c.ValidArgsFunction = completeArguments(1, s.ask(policies))
	complete(c, "namespace", s.ask(namespaces))
	form.flag(c)
	return c
}

// objectName reads "namespace/name", or "name" where a namespace is given.
func objectName(text, namespace string) (*pb.PolicyRef, error) {
	before, after, qualified := strings.Cut(text, "/")
	if !qualified {
		before, after = namespace, text
	}
	if before == "" || after == "" || strings.Contains(after, "/") {
		return nil, fmt.Errorf("%q is not NAMESPACE/NAME; give the namespace there, or with -n", text)
	}
	return &pb.PolicyRef{Namespace: before, Name: after}, nil
}
