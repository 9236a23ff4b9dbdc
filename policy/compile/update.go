// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// Update is a Delta in the form of the maps. The data path applies it in the
// order of the fields: at every instant a packet of one endpoint sees all of
// the old policy or all of the new one.
type Update struct {
	// Rows are new; no row is ever changed in place. The key is in the value.
	Rows []bpf.WeirRow
	// Peers and Prefixes, then the flip of Subjects, then the epoch.
	Peers     []resolve.PeerChange
	Prefixes  []resolve.PrefixChange
	Subjects  []SubjectSets
	MoveEpoch bool
	// Deletions come after a grace period.
	GoneSubjects []policy.ObjectKey
	GonePeers    []netip.Addr
	GonePrefixes []netip.Prefix
	GoneRows     []bpf.WeirRowKey
}

// SubjectSets is a SubjectChange with what the data path keeps beside the ids.
type SubjectSets struct {
	resolve.SubjectChange
	// IngressAny, EgressAny: the set has rows of class 0, which hold for
	// every class without rows of its own (EP_INGRESS_ANY, EP_EGRESS_ANY).
	IngressAny, EgressAny bool
}
