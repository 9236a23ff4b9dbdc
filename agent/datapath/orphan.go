// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// A connection by a Service has two entries: what the pod called, and what it
// became. Only in the first are answers seen, so only it knows that the other
// end has reset the connection; the second would stay for as long as an open
// one may be silent.

// callers are the pods' ends of the live connections by Services.
type callers map[podEnd]struct{}

type podEnd struct {
	ifindex  uint32
	addr     [16]uint8
	port     uint16
	protocol uint8
}

func endOf(k bpf.WeirFlowKey) podEnd {
	return podEnd{k.Ifindex, k.Local, k.LocalPort, k.Protocol}
}

// note keeps the caller of an entry that stays.
func (c callers) note(r FlowRecord) {
	if r.Flow.Flags&uint8(bpf.WeirFlowFlagFLOW_DEFERRED) != 0 && policy.Protocol(r.Key.Protocol) == policy.TCP {
		c[endOf(r.Key)] = struct{}{}
	}
}

// orphaned: the entry was made after translation, is silent for as long as a
// closed connection may be, and the last pass found no entry of what was
// called. Before the first pass ended (nil), none is.
func (c callers) orphaned(r FlowRecord, now Clock) bool {
	if c == nil || r.Flow.Flags&uint8(bpf.WeirFlowFlagFLOW_TRANSLATED) == 0 || policy.Protocol(r.Key.Protocol) != policy.TCP {
		return false
	}
	_, live := c[endOf(r.Key)]
	return !live && min(now.Age(r.Flow.LastTx), now.Age(r.Flow.LastRx)) > tcpClosed+sweepGrace
}
