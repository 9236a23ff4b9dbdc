// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"

	"github.com/weirnet/weir/policy"
)

// ClassID is the id of a peer class. 0 is the class that satisfies no term.
type ClassID uint32

// SetID is the id of a policy set. 0 means: not isolated.
type SetID uint32

// RuleID is the id of one rule of one version of a policy's content. Ids start
// at 1.
type RuleID uint32

// Ids of classes, sets and rules are never given twice in a run of the agent,
// and a new run begins above the marks of the last (Marks).
type Marks struct {
	Class ClassID
	Set   SetID
	Rule  RuleID
}

// PeerFlags of an address; the bits are those of enum peer_flag in
// bpf/src/types.h.
type PeerFlags uint32

const (
	PeerService PeerFlags = 1 // the node translates it: a Service's address
	PeerNode    PeerFlags = 2 // an address of this node
)

// Delta is what one batch changed. It is applied in the order of the fields;
// DESIGN 3.3 says why no instant of that shows a wrong verdict.
type Delta struct {
	// NewClasses, NewSets and NewRules exist from now on and never change.
	// Rules of NewSets that are not among NewRules are in older sets, too.
	NewClasses []*Class
	NewSets    []*Set
	NewRules   []RuleID
	// Peers and Prefixes: addresses and prefixes whose class or flags are new.
	Peers    []PeerChange
	Prefixes []PrefixChange
	// Subjects: local pods whose sets are new.
	Subjects []SubjectChange
	// MoveEpoch: an address left or changed a non-zero class, and lost by it
	// something that a rule may have allowed. One that only gains terms, as
	// when a pod takes an address of a block, cuts nothing: rules only allow.
	// (The data path moves the epoch by itself where an endpoint gets another
	// set or mode.)
	MoveEpoch bool
	// Gone after the flip: nothing refers to these any more. An address or
	// prefix here has the class that its lookup gives without it, by Peers or
	// Prefixes of this delta or an earlier one, so its deletion changes no
	// verdict, in any order.
	GoneSubjects []policy.ObjectKey
	GonePeers    []netip.Addr
	GonePrefixes []netip.Prefix
	GoneSets     []SetID
	GoneClasses  []ClassID
	GoneRules    []RuleID
}

// PeerChange is one exact address of a pod, a Service or the node.
type PeerChange struct {
	Addr  netip.Addr
	Class ClassID
	Flags PeerFlags
}

// PrefixChange is one node of the prefix tree: the class of every address
// whose longest matching node it is and that has no PeerChange of its own.
type PrefixChange struct {
	Prefix netip.Prefix // masked; IPv4 prefixes are 4-byte addresses
	Class  ClassID
}

// SubjectChange gives a local pod its sets.
type SubjectChange struct {
	Pod     policy.ObjectKey
	UID     string
	Ingress SetID
	Egress  SetID
}
