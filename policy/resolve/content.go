// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"maps"
	"slices"

	"github.com/weirnet/weir/policy"
)

// samePolicy compares all of two policies; nil and empty lists are alike.
func samePolicy(a, b *policy.Policy) bool {
	if a == b {
		return true
	}
	if a.ObjectKey != b.ObjectKey || a.UID != b.UID || a.Isolates != b.Isolates || !sameSelector(a.Subjects, b.Subjects) {
		return false
	}
	for _, dir := range policy.Directions {
		if !slices.EqualFunc(a.Rules[dir], b.Rules[dir], sameRule) {
			return false
		}
	}
	return true
}

func sameRule(a, b policy.Rule) bool {
	return a.AnyPeer == b.AnyPeer && a.AnyPort == b.AnyPort &&
		slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Problems, b.Problems) &&
		slices.EqualFunc(a.Peers, b.Peers, samePeer)
}

func samePeer(a, b policy.Peer) bool {
	return sameOptional(a.Pods, b.Pods, sameSelector) &&
		sameOptional(a.Namespaces, b.Namespaces, sameSelector) &&
		sameOptional(a.Block, b.Block, sameBlock)
}

func sameOptional[T any](a, b *T, same func(a, b T) bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return same(*a, *b)
}

func sameBlock(a, b policy.Block) bool {
	return a.Prefix == b.Prefix && slices.Equal(a.Excepts, b.Excepts)
}

func sameSelector(a, b policy.Selector) bool {
	return slices.EqualFunc(a.Requirements, b.Requirements, func(a, b policy.Requirement) bool {
		return a.Key == b.Key && a.Operator == b.Operator && slices.Equal(a.Values, b.Values)
	})
}

// samePod compares what this package reads of a pod.
func samePod(a, b *policy.Pod) bool {
	return a == b || a.UID == b.UID && a.Node == b.Node &&
		a.HostNetwork == b.HostNetwork && a.Terminal == b.Terminal &&
		slices.Equal(a.IPs, b.IPs) && slices.Equal(a.Ports, b.Ports) && maps.Equal(a.Labels, b.Labels)
}
