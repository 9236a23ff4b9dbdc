// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"

	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// Stats implements server.PolicyReader.
func (r *policyReader) Stats(_ context.Context, namespace, name string) (server.Stats, error) {
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	if name != "" && r.dir.policies[namespace][name] == nil {
		return server.Stats{}, fmt.Errorf("policy %s/%s: %w; `weir policy list` shows those of this node", namespace, name, server.ErrNotFound)
	}
	if r.accounts == nil {
		return server.Stats{}, nil
	}
	rules, denials := r.accounts.Counts()
	stats := server.Stats{Since: r.since}
	for ns, policies := range r.dir.policies {
		for _, p := range policies {
			if (namespace == "" || namespace == ns) && (name == "" || name == p.Name) {
				stats.Policies = append(stats.Policies, policyStats(p, rules, denials[p.ObjectKey]))
			}
		}
	}
	return stats, nil
}

func policyStats(p *policy.Policy, accounts map[policy.RuleRef]flows.RuleAccount, denials uint64) server.PolicyStats {
	s := server.PolicyStats{Key: p.ObjectKey, Denials: denials}
	for _, direction := range policy.Directions {
		for i := range p.Rules[direction] {
			ref := policy.RuleRef{Policy: p.ObjectKey, Direction: direction, Index: i}
			s.Rules = append(s.Rules, server.RuleStats{Ref: ref, RuleAccount: accounts[ref]})
		}
	}
	return s
}
