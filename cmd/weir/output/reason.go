// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// reasonText says a reason in words. Reasons that speak of a rule or of
// policies are worded by decision, which has their names.
func reasonText(r pb.Reason) string {
	switch r {
	case pb.Reason_REASON_NOT_ISOLATED:
		return "not isolated"
	case pb.Reason_REASON_REPLY:
		return "reply within an allowed flow"
	case pb.Reason_REASON_ESTABLISHED:
		return "part of a known flow"
	case pb.Reason_REASON_RELATED:
		return "ICMP error about a known flow"
	case pb.Reason_REASON_FROM_NODE:
		return "sent by the node itself"
	case pb.Reason_REASON_TO_NODE:
		return "delivered to the node itself"
	case pb.Reason_REASON_OWN_TRAFFIC:
		return "the pod reaches itself"
	case pb.Reason_REASON_NEIGHBOUR:
		return "ARP or neighbour discovery"
	case pb.Reason_REASON_MIDSTREAM:
		return "taken for the middle of an allowed connection"
	case pb.Reason_REASON_DEFERRED:
		return "goes to an address that the node translates; decided after that"
	case pb.Reason_REASON_CONFIGURATION:
		return "DHCP or multicast listener report"
	case pb.Reason_REASON_NOT_READY_OPEN:
		return "policy not complete yet, and the agent runs with --unready=allow"
	}
	return denialText(r)
}

func denialText(r pb.Reason) string {
	switch r {
	case pb.Reason_REASON_NO_RULE:
		return "no rule allows it"
	case pb.Reason_REASON_SPOOFED:
		return "the source address is not the pod's"
	case pb.Reason_REASON_OVERLAY:
		return "tunnel traffic from a pod to the node"
	case pb.Reason_REASON_MALFORMED:
		return "malformed packet"
	case pb.Reason_REASON_FRAGMENT:
		return "fragment without an allowed first fragment"
	case pb.Reason_REASON_UNSUPPORTED:
		return "not IP, and the pod is isolated"
	case pb.Reason_REASON_NOT_READY:
		return "policy not complete yet"
	case pb.Reason_REASON_NO_HOOK:
		return "goes to an address that the node translates, and this node has no hook after that"
	case pb.Reason_REASON_REVOKED:
		return "a policy change cut the flow"
	case pb.Reason_REASON_NEIGHBOUR_FORGED:
		return "ARP or neighbour discovery that claims what is not the pod's"
	case pb.Reason_REASON_LOOPBACK:
		return "loopback address on the wire"
	}
	return "reason " + reasonCode(r)
}

// reasonCode is the reason as in bpf/src/types.h without its prefix:
// REASON_NO_RULE is "no-rule". A reason of a newer agent is its number.
func reasonCode(r pb.Reason) string {
	name, known := pb.Reason_name[int32(r)]
	if !known {
		return fmt.Sprint(int32(r))
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "REASON_")), "_", "-")
}

// isolatingShown bounds a compact line: a pod may be selected by dozens.
const isolatingShown = 3

// decision words the reason of a flow with the rule and policies it names.
func decision(f *pb.Flow, limit int) string {
	switch f.GetReason() {
	case pb.Reason_REASON_RULE:
		if f.GetRule() == nil {
			return "by a rule that is gone"
		}
		return "by " + ruleName(f.GetRule())
	case pb.Reason_REASON_DENY_RULE:
		if f.GetRule() == nil {
			return "a rule denies it"
		}
		return ruleName(f.GetRule()) + " denies it"
	case pb.Reason_REASON_NO_RULE:
		return isolation(f, limit)
	}
	if f.GetRule() != nil {
		return reasonText(f.GetReason()) + " (" + ruleName(f.GetRule()) + ")"
	}
	return reasonText(f.GetReason())
}

func isolation(f *pb.Flow, limit int) string {
	said := reasonText(pb.Reason_REASON_NO_RULE)
	if len(f.GetIsolating()) > 0 {
		said = "isolated by " + policyNames(f.GetIsolating(), limit)
	}
	if miss := f.GetNearestMiss(); miss != nil {
		said += "; nearest miss " + ruleName(miss.GetRule())
		if miss.GetWhy() != "" {
			said += ": " + Escape(miss.GetWhy())
		}
	}
	return said
}

// why is the last column of a flow's line: whose policy, and what it says.
func why(f *pb.Flow, limit int) string {
	said := end(f) + judgement(f, limit)
	said = strings.TrimPrefix(strings.TrimPrefix(said, ": "), " ")
	if f.GetReply() && f.GetReason() != pb.Reason_REASON_REPLY {
		said += "; seen on a reply packet"
	}
	if f.GetService() != nil {
		said += "; sent to " + peerText(f.GetService(), f.GetProtocol())
	}
	if f.GetRepeats() > 0 {
		said += fmt.Sprintf("; and %d more like it since the last line", f.GetRepeats())
	}
	if f.GetSample() > 1 {
		said += fmt.Sprintf("; one of about %d, the others were not told", f.GetSample())
	}
	return said
}

// end names the end whose policy decided. A pod that forges an address is
// named by its interface: by the address, the victim would stand there.
func end(f *pb.Flow) string {
	direction := directionName(f.GetDirection())
	if direction == "" {
		return ""
	}
	subject := f.GetDestination()
	if f.GetDirection() == pb.Direction_DIRECTION_EGRESS {
		subject = f.GetSource()
	}
	forged := f.GetReason() == pb.Reason_REASON_SPOOFED || f.GetReason() == pb.Reason_REASON_NEIGHBOUR_FORGED
	if f.GetInterface() != "" && (forged || subject.GetIdentity() != pb.Identity_IDENTITY_POD) {
		return direction + " of interface " + Escape(f.GetInterface())
	}
	return direction + " of " + endName(subject)
}

// judgement goes on after end: " denied: ...", " allowed by ...", ": not isolated".
func judgement(f *pb.Flow, limit int) string {
	again := ""
	switch f.GetKind() {
	case pb.FlowKind_FLOW_KIND_REVOKED:
		if f.GetReason() == pb.Reason_REASON_REVOKED {
			return " cut by a policy change"
		}
		return " cut by a policy change: " + decision(f, limit)
	case pb.FlowKind_FLOW_KIND_CHANGED:
		again = " judged again after a policy change,"
	}
	switch f.GetVerdict() {
	case pb.Verdict_VERDICT_ALLOWED:
		if f.GetReason() == pb.Reason_REASON_RULE {
			return again + " allowed " + decision(f, limit)
		}
		return strings.TrimSuffix(again, ",") + ": " + decision(f, limit)
	case pb.Verdict_VERDICT_AUDITED:
		return again + " would be denied: " + decision(f, limit)
	}
	return again + " denied: " + decision(f, limit)
}
