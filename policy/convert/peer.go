// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/weirnet/weir/policy"
)

func peer(p *networkingv1.NetworkPolicyPeer) (policy.Peer, error) {
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock != nil && selects:
		return policy.Peer{}, errors.New("ipBlock and a selector in one peer: write two peers")
	case p.IPBlock != nil:
		b, err := block(p.IPBlock)
		return policy.Peer{Block: b}, err
	case !selects:
		return policy.Peer{}, errors.New("no field is set: a peer for every pod of the namespace is podSelector: {}")
	}
	var out policy.Peer
	var err error
	if out.Pods, err = optional(p.PodSelector); err != nil {
		return policy.Peer{}, fmt.Errorf("podSelector: %w", err)
	}
	if out.Namespaces, err = optional(p.NamespaceSelector); err != nil {
		return policy.Peer{}, fmt.Errorf("namespaceSelector: %w", err)
	}
	return out, nil
}

// block converts an ipBlock whole or not at all: without the except that could
// not be read it would allow what its author cut out.
func block(b *networkingv1.IPBlock) (*policy.Block, error) {
	p, err := prefix(b.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock.cidr: %w", err)
	}
	out := &policy.Block{Prefix: p}
	for i, text := range b.Except {
		except, err := prefix(text)
		if err != nil {
			return nil, fmt.Errorf("ipBlock.except[%d]: %w", i, err)
		}
		if except.Bits() <= p.Bits() || !p.Contains(except.Addr()) {
			return nil, fmt.Errorf("ipBlock.except[%d]: %s is not a part of %s", i, except, p)
		}
		out.Excepts = append(out.Excepts, except)
	}
	return out, nil
}

func optional(s *metav1.LabelSelector) (*policy.Selector, error) {
	if s == nil {
		return nil, nil
	}
	out, err := selector(s)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// selector converts a selector that is present; an empty one matches all. The
// requirements are sorted, so that equal objects give equal models although
// matchLabels is a map.
func selector(s *metav1.LabelSelector) (policy.Selector, error) {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return policy.Selector{}, err
	}
	requirements, _ := parsed.Requirements()
	var out policy.Selector
	for _, r := range requirements {
		converted, err := requirement(r)
		if err != nil {
			return policy.Selector{}, err
		}
		out.Requirements = append(out.Requirements, converted)
	}
	slices.SortFunc(out.Requirements, func(a, b policy.Requirement) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), slices.Compare(a.Values, b.Values))
	})
	return out, nil
}

func requirement(r labels.Requirement) (policy.Requirement, error) {
	values := slices.Compact(slices.Sorted(slices.Values(r.ValuesUnsorted())))
	out := policy.Requirement{Key: r.Key(), Values: values}
	switch r.Operator() {
	case selection.Equals, selection.In:
		out.Operator = policy.In
	case selection.NotIn:
		out.Operator = policy.NotIn
	case selection.Exists:
		out.Operator = policy.Exists
	case selection.DoesNotExist:
		out.Operator = policy.DoesNotExist
	default:
		return policy.Requirement{}, fmt.Errorf("operator %q is none of In, NotIn, Exists, DoesNotExist", r.Operator())
	}
	return out, nil
}
