// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"net/netip"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Identity says whose an address was when the event arrived.
type Identity uint8

const (
	World Identity = iota
	PodIdentity
	NodeIdentity
	ServiceIdentity
)

// Peer is one end of a flow. Pod and Service are shared and immutable.
type Peer struct {
	Addr     netip.Addr
	Port     uint16 // host order; 0 for protocols without ports
	Identity Identity
	Pod      *policy.Pod     // Identity is PodIdentity
	Service  *policy.Service // Identity is ServiceIdentity
}

// Miss is the rule that came closest to allowing what was denied.
type Miss struct {
	Rule policy.RuleRef
	Why  string
}

// Flow is one event with its names. It is immutable once in the store.
type Flow struct {
	Sequence  uint64
	Time      time.Time
	Kind      bpf.WeirEventKind
	Verdict   bpf.WeirVerdict
	Reason    bpf.WeirReason
	Direction policy.Direction
	Protocol  policy.Protocol
	TCPFlags  uint8
	ICMPType  uint8
	ICMPCode  uint8
	Reply     bool
	EtherType uint16 // host order
	Length    uint32 // bytes, layer 3 up
	Repeats   uint32
	// Source began the flow.
	Source, Destination Peer
	Service             *Peer           // address before translation
	Rule                *policy.RuleRef // where a rule decided
	Isolating           []policy.ObjectKey
	Nearest             *Miss
	Interface           string // host interface of the pod whose policy decided
}
