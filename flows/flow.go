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

// Flow is one record of a flow with its names: an event of the programs, or
// what a walk over the table of flows found. It is immutable once in the store.
type Flow struct {
	Sequence uint64
	// ID is the same in all records of one flow; 0: a denial, which makes none.
	ID        uint64
	Time      time.Time
	Kind      Kind
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
	Sample              uint32 // the event stands for so many; 0 and 1: for itself
	Totals              *Totals
}

// Totals of a flow since it began; in records of kind Closed and Active.
type Totals struct {
	Start          time.Time // of the first packet, to a tick of the kernel
	Duration       time.Duration
	Sent, Answered Traffic // by source and destination
	End            EndReason
}

// Traffic is what one side of a flow sent.
type Traffic struct {
	Packets  uint64 // GSO counted as segments
	Bytes    uint64 // layer 3 up
	TCPFlags uint8  // of all packets, or-ed
}

// End is why the flow ended; 0: it has not, or not that this record says.
func (f *Flow) End() EndReason {
	if f.Totals == nil {
		return 0
	}
	return f.Totals.End
}
