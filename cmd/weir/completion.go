// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
)

// completionTimeout bounds what a user waits for at the Tab key.
const completionTimeout = 2 * time.Second

// lister asks the agent for the words that a flag may have.
type lister func(context.Context, *client.Client) ([]string, error)

// completeWith completes a flag with fixed words.
func completeWith(c *cobra.Command, flag string, words ...string) {
	complete(c, flag, func(*cobra.Command) []string { return words })
}

// complete completes the last of the values of a flag, which stand between
// commas.
func complete(c *cobra.Command, flag string, words func(*cobra.Command) []string) {
	// The error is that of a flag that does not exist; a test asks each.
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndex(typed, ",")+1]
		var found []string
		for _, word := range words(c) {
			if strings.HasPrefix(before+word, typed) {
				found = append(found, before+word)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	})
}

// completeArguments completes the first so many arguments of a command.
func completeArguments(most int, words func(*cobra.Command) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(given) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found := slices.DeleteFunc(words(c), func(word string) bool { return !strings.HasPrefix(word, typed) })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// ask returns nothing when no agent answers: a shell has no place for errors.
func (s *session) ask(list lister) func(*cobra.Command) []string {
	return func(c *cobra.Command) []string {
		ctx, cancel := context.WithTimeout(c.Context(), min(s.requestTimeout, completionTimeout))
		defer cancel()
		agent, err := s.dial(ctx)
		if err != nil {
			return nil
		}
		defer agent.Close()
		words, err := list(ctx, agent)
		if err != nil {
			return nil
		}
		slices.Sort(words)
		return slices.Compact(words)
	}
}

// completeFilters completes the filter flags of a command.
func completeFilters(s *session, c *cobra.Command) {
	for _, side := range []side{anyEnd, fromEnd, toEnd} {
		complete(c, string(side)+"pod", s.ask(pods))
		complete(c, string(side)+"namespace", s.ask(namespaces))
		complete(c, string(side)+"service", s.ask(ends(pb.Identity_IDENTITY_SERVICE)))
		completeWith(c, string(side)+"identity", enumNames("IDENTITY_", pb.Identity_name)...)
	}
	complete(c, "policy", s.ask(policies))
	complete(c, "rule", s.ask(rules))
	completeWith(c, "verdict", enumNames("VERDICT_", pb.Verdict_name)...)
	completeWith(c, "reason", enumNames("REASON_", pb.Reason_name)...)
	completeWith(c, "traffic-direction", enumNames("DIRECTION_", pb.Direction_name)...)
	completeWith(c, "kind", enumNames("FLOW_KIND_", pb.FlowKind_name)...)
	completeWith(c, "end-reason", enumNames("END_REASON_", pb.EndReason_name)...)
	completeWith(c, "protocol", "tcp", "udp", "sctp", "icmp", "icmpv6")
	completeWith(c, "tcp-flags", tcpFlagNames()...)
}

// pods are those of this node, and those elsewhere that kept flows name.
func pods(ctx context.Context, agent *client.Client) ([]string, error) {
	here, err := agent.Agent.Endpoints(ctx, &pb.EndpointsRequest{})
	if err != nil {
		return nil, err
	}
	words, err := ends(pb.Identity_IDENTITY_POD)(ctx, agent)
	if err != nil {
		return nil, err
	}
	for _, e := range here.GetEndpoints() {
		if e.GetPod() != "" {
			words = append(words, e.GetNamespace()+"/"+e.GetPod())
		}
	}
	return words, nil
}

// ends are the names at both ends of kept flows.
func ends(identity pb.Identity) lister {
	return func(ctx context.Context, agent *client.Client) ([]string, error) {
		var words []string
		for _, key := range []pb.SummaryKey{pb.SummaryKey_SUMMARY_KEY_SOURCE, pb.SummaryKey_SUMMARY_KEY_DESTINATION} {
			sum, err := agent.Flows.Summarize(ctx, &pb.SummarizeRequest{By: []pb.SummaryKey{key}, Top: 1000})
			if err != nil {
				return nil, err
			}
			for _, g := range sum.GetGroups() {
				for _, p := range []*pb.Peer{g.GetSource(), g.GetDestination()} {
					if p.GetIdentity() == identity && p.GetName() != "" {
						words = append(words, p.GetNamespace()+"/"+p.GetName())
					}
				}
			}
		}
		return words, nil
	}
}

// namespaces are those of the pods and policies that the agent knows of.
func namespaces(ctx context.Context, agent *client.Client) ([]string, error) {
	names, err := pods(ctx, agent)
	if err != nil {
		return nil, err
	}
	more, err := policies(ctx, agent)
	found := map[string]bool{}
	for _, name := range append(names, more...) {
		namespace, _, _ := strings.Cut(name, "/")
		found[namespace] = true
	}
	return slices.Collect(maps.Keys(found)), err
}

func policies(ctx context.Context, agent *client.Client) ([]string, error) {
	return eachPolicy(ctx, agent, func(p *pb.Policy) []string { return []string{refName(p.GetRef())} })
}

func rules(ctx context.Context, agent *client.Client) ([]string, error) {
	return eachPolicy(ctx, agent, func(p *pb.Policy) []string {
		var words []string
		for _, rule := range p.GetRules() {
			direction := enumNames("DIRECTION_", map[int32]string{1: rule.GetRef().GetDirection().String()})
			words = append(words, refName(p.GetRef())+":"+direction[0]+":"+fmt.Sprint(rule.GetRef().GetIndex()))
		}
		return words
	})
}

func eachPolicy(ctx context.Context, agent *client.Client, words func(*pb.Policy) []string) ([]string, error) {
	answer, err := agent.Policies.List(ctx, &pb.ListPoliciesRequest{})
	if err != nil {
		return nil, err
	}
	var list []string
	for _, p := range answer.GetPolicies() {
		list = append(list, words(p)...)
	}
	return list, nil
}

func refName(r *pb.PolicyRef) string { return r.GetNamespace() + "/" + r.GetName() }
