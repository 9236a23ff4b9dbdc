// SPDX-License-Identifier: Apache-2.0

package bpf

import "strconv"

// Each name is the constant of src/types.h without its prefix, in lower case,
// with dashes. They are for output and metrics, so they never change. A value
// that has no name is shown as its number, e.g. "reason-31".

func unnamed(enum string, value uint32) string {
	return enum + "-" + strconv.FormatUint(uint64(value), 10)
}

// DirectionName names the direction: "ingress" or "egress".
func DirectionName(v WeirDirection) string {
	switch v {
	case WeirDirectionDIR_INGRESS:
		return "ingress"
	case WeirDirectionDIR_EGRESS:
		return "egress"
	}
	return unnamed("direction", uint32(v))
}

// SideName names the side of a flow, seen from the pod: "local" or "remote".
func SideName(v WeirSide) string {
	switch v {
	case WeirSideSIDE_LOCAL:
		return "local"
	case WeirSideSIDE_REMOTE:
		return "remote"
	}
	return unnamed("side", uint32(v))
}

// VerdictName names the verdict, e.g. "audited".
func VerdictName(v WeirVerdict) string {
	switch v {
	case WeirVerdictVERDICT_DENIED:
		return "denied"
	case WeirVerdictVERDICT_ALLOWED:
		return "allowed"
	case WeirVerdictVERDICT_AUDITED:
		return "audited"
	}
	return unnamed("verdict", uint32(v))
}

// ReasonName names the reason, e.g. "no-rule".
func ReasonName(v WeirReason) string {
	switch v {
	case WeirReasonREASON_UNKNOWN:
		return "unknown"
	case WeirReasonREASON_RULE:
		return "rule"
	case WeirReasonREASON_NOT_ISOLATED:
		return "not-isolated"
	case WeirReasonREASON_REPLY:
		return "reply"
	case WeirReasonREASON_ESTABLISHED:
		return "established"
	case WeirReasonREASON_RELATED:
		return "related"
	case WeirReasonREASON_FROM_NODE:
		return "from-node"
	case WeirReasonREASON_TO_NODE:
		return "to-node"
	case WeirReasonREASON_OWN_TRAFFIC:
		return "own-traffic"
	case WeirReasonREASON_NEIGHBOUR:
		return "neighbour"
	case WeirReasonREASON_MIDSTREAM:
		return "midstream"
	case WeirReasonREASON_DEFERRED:
		return "deferred"
	case WeirReasonREASON_CONFIGURATION:
		return "configuration"
	case WeirReasonREASON_NOT_READY_OPEN:
		return "not-ready-open"
	case WeirReasonREASON_NO_RULE:
		return "no-rule"
	case WeirReasonREASON_DENY_RULE:
		return "deny-rule"
	case WeirReasonREASON_SPOOFED:
		return "spoofed"
	case WeirReasonREASON_OVERLAY:
		return "overlay"
	case WeirReasonREASON_MALFORMED:
		return "malformed"
	case WeirReasonREASON_FRAGMENT:
		return "fragment"
	case WeirReasonREASON_UNSUPPORTED:
		return "unsupported"
	case WeirReasonREASON_NOT_READY:
		return "not-ready"
	case WeirReasonREASON_NO_HOOK:
		return "no-hook"
	case WeirReasonREASON_REVOKED:
		return "revoked"
	case WeirReasonREASON_NEIGHBOUR_FORGED:
		return "neighbour-forged"
	case WeirReasonREASON_LOOPBACK:
		return "loopback"
	}
	return unnamed("reason", uint32(v))
}

// ModeName names the mode of an endpoint, e.g. "not-ready".
func ModeName(v WeirMode) string {
	switch v {
	case WeirModeMODE_NOT_READY:
		return "not-ready"
	case WeirModeMODE_ENFORCE:
		return "enforce"
	case WeirModeMODE_AUDIT:
		return "audit"
	case WeirModeMODE_NOT_READY_OPEN:
		return "not-ready-open"
	}
	return unnamed("mode", uint32(v))
}

// EndpointFlagName names one flag of an endpoint, e.g. "forwards".
func EndpointFlagName(v WeirEndpointFlag) string {
	switch v {
	case WeirEndpointFlagEP_FORWARDS:
		return "forwards"
	case WeirEndpointFlagEP_INGRESS_ANY:
		return "ingress-any"
	case WeirEndpointFlagEP_HANDOVER:
		return "handover"
	case WeirEndpointFlagEP_EGRESS_ANY:
		return "egress-any"
	}
	return unnamed("endpoint-flag", uint32(v))
}

// PeerFlagName names one flag of a peer, e.g. "service".
func PeerFlagName(v WeirPeerFlag) string {
	switch v {
	case WeirPeerFlagPEER_SERVICE:
		return "service"
	case WeirPeerFlagPEER_NODE:
		return "node"
	}
	return unnamed("peer-flag", uint32(v))
}

// FlowFlagName names one flag of a flow entry, e.g. "tombstone".
func FlowFlagName(v WeirFlowFlag) string {
	switch v {
	case WeirFlowFlagFLOW_ANSWERED:
		return "answered"
	case WeirFlowFlagFLOW_MIDSTREAM:
		return "midstream"
	case WeirFlowFlagFLOW_DEFERRED:
		return "deferred"
	case WeirFlowFlagFLOW_TOMBSTONE:
		return "tombstone"
	case WeirFlowFlagFLOW_STICKY:
		return "sticky"
	case WeirFlowFlagFLOW_TRANSLATED:
		return "translated"
	case WeirFlowFlagFLOW_FOREIGN:
		return "foreign"
	case WeirFlowFlagFLOW_CALLS_NODE:
		return "calls-node"
	}
	return unnamed("flow-flag", uint32(v))
}

// EventKindName names the kind of an event, e.g. "revoked".
func EventKindName(v WeirEventKind) string {
	switch v {
	case WeirEventKindEVENT_NEW:
		return "new"
	case WeirEventKindEVENT_REVOKED:
		return "revoked"
	case WeirEventKindEVENT_FREED:
		return "freed"
	}
	return unnamed("event-kind", uint32(v))
}

// RingName names the event ring: "allowed" or "denied".
func RingName(v WeirRing) string {
	switch v {
	case WeirRingRING_ALLOWED:
		return "allowed"
	case WeirRingRING_DENIED:
		return "denied"
	}
	return unnamed("ring", uint32(v))
}

// ActionName names the action of a rule: "allow" or "deny".
func ActionName(v WeirAction) string {
	switch v {
	case WeirActionACTION_DENY:
		return "deny"
	case WeirActionACTION_ALLOW:
		return "allow"
	}
	return unnamed("action", uint32(v))
}
