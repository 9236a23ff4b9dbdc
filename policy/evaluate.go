// SPDX-License-Identifier: Apache-2.0

package policy

import "net/netip"

// Cluster is all that the oracle looks at.
type Cluster struct {
	Namespaces map[string]Namespace
	Pods       []*Pod
	Policies   []*Policy
}

// Flow is what begins at one end and arrives at the other, judged at Subject
// in one direction.
type Flow struct {
	Direction Direction
	Subject   *Pod
	Peer      netip.Addr // the other end, as its address on the wire
	Protocol  Protocol
	Port      uint16 // destination port; ignored for protocols without ports
	// OwnNode: the peer is the node that Subject runs on.
	OwnNode bool
}

// Cause says which kind of decision was taken.
type Cause uint8

const (
	NoRule      Cause = iota // isolated, and no rule allows it
	ByRule                   // Decision.Rule allows it
	NotIsolated              // no policy selects Subject in this direction
	NodeTraffic              // to or from the pod's own node
	Itself                   // the pod reaches itself
)

// Decision is the oracle's answer. The zero value denies.
type Decision struct {
	Allowed bool
	Cause   Cause
	// Rule decided, if Cause is ByRule: the first by policy namespace, policy
	// name, rule index. Others allow it too.
	Rule   RuleRef
	Others []RuleRef
	// Isolating are the policies that isolate Subject in this direction,
	// sorted by namespace and name.
	Isolating []ObjectKey
}
