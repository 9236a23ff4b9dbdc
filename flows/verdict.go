// SPDX-License-Identifier: Apache-2.0

package flows

import "github.com/weirnet/weir/bpf"

// The enums of the data path under the names that readers of flows use, so
// that they need not import package bpf with its programs.
type (
	Verdict = bpf.WeirVerdict
	Reason  = bpf.WeirReason
	Kind    = bpf.WeirEventKind
)

const (
	Denied  = bpf.WeirVerdictVERDICT_DENIED
	Allowed = bpf.WeirVerdictVERDICT_ALLOWED
	Audited = bpf.WeirVerdictVERDICT_AUDITED
)
