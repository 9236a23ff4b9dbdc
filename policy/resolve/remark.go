// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirnet/weir/policy"
)

// Remark is a part of a rule that can be used, but means nothing among the
// objects of now: a named port that no pod in question has, or a block that
// names the virtual address of a Service.
type Remark struct {
	Rule policy.RuleRef
	Text string
}

// Remarks returns those of now, sorted by rule. A name is silent while there
// is no pod that could have it. The cost is a look at each kind of pod, and at
// each rule with a name or a block.
func (e *Engine) Remarks() []Remark {
	r := remarker{engine: e, carriers: map[portName][]*profile{}, services: map[netip.Addr]policy.ObjectKey{}}
	for _, ns := range e.namespaces {
		for _, pr := range ns.profiles {
			r.all = append(r.all, pr)
			for _, p := range pr.ports {
				name := portName{p.Name, p.Protocol}
				r.carriers[name] = append(r.carriers[name], pr)
			}
		}
	}
	for key, addrs := range e.services {
		for _, a := range addrs {
			if other, has := r.services[a]; !has || compareKeys(key, other) < 0 {
				r.services[a] = key
			}
		}
	}
	for _, ns := range e.namespaces {
		for _, v := range ns.policies {
			for _, dir := range policy.Directions {
				for i, rule := range v.policy.Rules[dir] {
					r.rule(ns, v.policy, policy.RuleRef{Policy: v.policy.ObjectKey, Direction: dir, Index: i}, rule)
				}
			}
		}
	}
	slices.SortStableFunc(r.out, func(a, b Remark) int { return a.Rule.Compare(b.Rule) })
	return r.out
}

type remarker struct {
	engine   *Engine
	all      []*profile
	carriers map[portName][]*profile // of a port of that name
	services map[netip.Addr]policy.ObjectKey
	out      []Remark
}

func (r *remarker) add(ref policy.RuleRef, format string, args ...any) {
	r.out = append(r.out, Remark{ref, fmt.Sprintf(format, args...)})
}

func (r *remarker) rule(ns *namespace, p *policy.Policy, ref policy.RuleRef, rule policy.Rule) {
	for _, name := range sortedNames(ruleNames(rule)) {
		who, asked := r.askedOf(ns, p, ref.Direction, rule)
		if slices.ContainsFunc(r.carriers[name], asked) || !slices.ContainsFunc(r.all, asked) {
			continue
		}
		r.add(ref, "named port %s/%s: %s%s", name.name, name.protocol, who, r.otherProtocol(name, asked))
	}
	if ref.Direction == policy.Ingress {
		return // no packet comes from a virtual address
	}
	for _, peer := range rule.Peers {
		if peer.Block == nil || !peer.Block.Prefix.IsSingleIP() {
			continue
		}
		if service, has := r.services[peer.Block.Prefix.Addr()]; has {
			r.add(ref, "block %s is the address of Service %s: rules are compared with the addresses of its backends, so name those, by a podSelector", peer.Block.Prefix, service)
		}
	}
}

// askedOf tells the pods of whom a rule asks its named ports: who says that
// none of them has it.
func (r *remarker) askedOf(ns *namespace, p *policy.Policy, dir policy.Direction, rule policy.Rule) (who string, asked func(*profile) bool) {
	if dir == policy.Ingress {
		return "no pod that the policy selects has it", func(pr *profile) bool {
			return pr.ns == ns && p.Subjects.Matches(pr.labels)
		}
	}
	if rule.AnyPeer {
		return "no pod of the cluster has it", func(*profile) bool { return true }
	}
	var terms []*term
	for _, peer := range rule.Peers {
		if t := newTerm(peer, p.Namespace); t != nil {
			terms = append(terms, t)
		}
	}
	return "no pod that the rule allows has it", func(pr *profile) bool {
		return slices.ContainsFunc(terms, func(t *term) bool { return t.matches(pr) || t.block != nil && pr.within(*t.block) })
	}
}

// within reports whether a pod of this kind is inside a block.
func (pr *profile) within(b policy.Block) bool {
	return slices.ContainsFunc(pr.pods, func(p *pod) bool {
		return slices.ContainsFunc(p.addresses, func(a *address) bool {
			return b.Prefix.Contains(a.addr) && !slices.ContainsFunc(b.Excepts, func(x netip.Prefix) bool { return x.Contains(a.addr) })
		})
	})
}

// otherProtocol: the commonest reason is a rule that does not say UDP.
func (r *remarker) otherProtocol(name portName, asked func(*profile) bool) string {
	var has []string
	for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
		if slices.ContainsFunc(r.carriers[portName{name.name, protocol}], asked) {
			has = append(has, protocol.String())
		}
	}
	if len(has) == 0 {
		return ""
	}
	return " for that protocol, but for " + strings.Join(has, " and ")
}
