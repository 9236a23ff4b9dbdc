// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newPolicyStatus(s *session, name string) *cobra.Command {
	var form form
	var namespace string
	c := &cobra.Command{
		Use:   "status NAMESPACE/NAME",
		Short: "Shows on which nodes a policy is in force",
		Long: `Shows for each node whether the newest version of a policy that any node holds
is in its maps, and in which state the pods are that it selects there. On a node
without such pods it is in force once the agent knows it. The generation is that
of the object (kubectl get networkpolicy -o jsonpath={.metadata.generation}).

A policy that is not in force is an answer: the exit code is 0. A node that does
not answer makes it 5, and a policy that no node knows makes it 1.`,
		Example: examples(name, "policy status shop/allow-app", "policy status -n shop allow-app --context prod"),
		Args:    positional(cobra.ExactArgs(1), "one policy, NAMESPACE/NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := objectName(args[0], namespace)
			if err = errors.Join(err, form.check(c)); err != nil {
				return wrong(c, err)
			}
			return s.policyStatus(c.Context(), &form, ref)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of a NAME without one")
	c.ValidArgsFunction = completeArguments(1, s.ask(policies))
	complete(c, "namespace", s.ask(namespaces))
	form.flag(c)
	return c
}

func (s *session) policyStatus(ctx context.Context, form *form, ref *pb.PolicyRef) error {
	request := &pb.GetPolicyRequest{Namespace: ref.GetNamespace(), Name: ref.GetName()}
	answers, partial, err := askAll(ctx, s, []string{ref.GetNamespace()}, "", func(ctx context.Context, agent *client.Client) (*pb.Policy, error) {
		answer, err := agent.Policies.Get(ctx, request)
		if status.Code(err) == codes.NotFound {
			return nil, nil // of this node: others may know it
		}
		return answer.GetPolicy(), err
	})
	if err != nil {
		return err
	}
	list, known := policyAt(answers)
	if !known {
		return fmt.Errorf("no agent that answered knows a policy %s; %s policy list -n %s shows what there is", refName(ref), programName(s.name), ref.GetNamespace())
	}
	if form.name == "text" {
		err = output.PolicyStatus(s.out, refName(ref), list, s.style())
	} else {
		for _, p := range list {
			if p.Policy != nil {
				err = errors.Join(err, form.write(s, p.Policy, nil))
			}
		}
	}
	return errors.Join(err, incomplete(partial))
}

// policyAt finds which nodes hold the newest version. Policies of another uid
// are another object of that name: the later one is that which more know, so
// one alone that differs is told as older.
func policyAt(answers []answer[*pb.Policy]) (list []output.PolicyAt, known bool) {
	holders := map[string]int{}
	for _, a := range answers {
		if a.value != nil {
			holders[a.value.GetUid()]++
		}
	}
	uid, newest := "", int64(0)
	for _, a := range answers {
		if a.value != nil && (uid == "" || holders[a.value.GetUid()] > holders[uid]) {
			uid, known = a.value.GetUid(), true
		}
		known = known || a.value != nil
	}
	for _, a := range answers {
		if a.value.GetUid() == uid {
			newest = max(newest, a.value.GetObjectGeneration())
		}
	}
	for _, a := range answers {
		p := a.value
		list = append(list, output.PolicyAt{Node: a.node, Policy: p,
			Newest: p != nil && p.GetUid() == uid && p.GetObjectGeneration() == newest})
	}
	return list, known
}
