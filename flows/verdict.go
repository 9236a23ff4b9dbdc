// SPDX-License-Identifier: Apache-2.0

package flows

import "github.com/weirnet/weir/bpf"

// The enums of the data path under the names that readers of flows use, so
// that they need not import package bpf with its programs.
type (
	Verdict = bpf.WeirVerdict
	Reason  = bpf.WeirReason
)

const (
	Denied  = bpf.WeirVerdictVERDICT_DENIED
	Allowed = bpf.WeirVerdictVERDICT_ALLOWED
	Audited = bpf.WeirVerdictVERDICT_AUDITED
)

// Kind of a record. Up to 15 the numbers are those of enum event_kind in
// bpf/src/types.h, told by the programs at the packet.
type Kind uint8

const (
	New     = Kind(bpf.WeirEventKindEVENT_NEW)
	Revoked = Kind(bpf.WeirEventKindEVENT_REVOKED)
	Changed = Kind(bpf.WeirEventKindEVENT_FREED)

	Closed Kind = 16 // the flow has ended
	Active Kind = 17 // it goes on
)

// EndReason says why a flow ended; 0: it has not.
type EndReason uint8

const (
	EndFIN     EndReason = iota + 1 // both sides sent one
	EndRST                          // one side sent one
	EndExpired                      // silent for as long as its protocol's limit
	EndRevoked                      // a policy change cut it
	EndRemoved                      // its interface went away
)
