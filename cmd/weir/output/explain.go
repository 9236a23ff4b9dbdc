// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// Explanation writes the answer to asked: the verdict, then each end with its
// rules.
func Explanation(to io.Writer, asked *pb.ExplainRequest, e *pb.ExplainResponse, style Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s -> %s  %s%s\n",
		style.paint(verdictColor(e.GetVerdict()), VerdictName(e.GetVerdict())),
		askedEnd(e.GetSource(), asked.GetSource()), askedEnd(e.GetDestination(), asked.GetDestination()),
		ProtocolName(asked.GetProtocol()), askedPort(asked))
	for _, end := range e.GetEnds() {
		b.WriteByte('\n')
		explainEnd(&b, end, style)
	}
	if len(e.GetEnds()) == 0 {
		b.WriteString("\nneither end is a pod that this agent knows: no policy of this node has a say\n")
	}
	return flush(to, &b)
}

// askedEnd is an end as the agent found it, or else as it was asked for.
func askedEnd(p *pb.Peer, asked string) string {
	if p.GetIp() == "" {
		return Escape(asked)
	}
	name := endName(p)
	switch {
	case p.GetIdentity() == pb.Identity_IDENTITY_SERVICE && p.GetName() != "":
		return fmt.Sprintf("%s (service %s)", object(p.GetNamespace(), p.GetName()), Escape(p.GetIp()))
	case p.GetIdentity() == pb.Identity_IDENTITY_POD && name != Escape(p.GetIp()):
		return fmt.Sprintf("%s (%s)", name, Escape(p.GetIp()))
	}
	return peerText(&pb.Peer{Ip: p.GetIp(), Identity: p.GetIdentity()}, 0)
}

func askedPort(asked *pb.ExplainRequest) string {
	if !hasPorts(asked.GetProtocol()) {
		return ""
	}
	return fmt.Sprintf(" port %d", asked.GetPort())
}

func explainEnd(b *strings.Builder, end *pb.ExplainEnd, style Style) {
	head := fmt.Sprintf("%s of %s", directionName(end.GetDirection()), Escape(end.GetPod()))
	if backend := end.GetBackend(); backend != nil {
		head += " to backend " + peerText(backend, 0)
		if backend.GetName() != "" {
			head += fmt.Sprintf(" (%s)", Escape(backend.GetIp()))
		}
	}
	if !end.GetHere() {
		fmt.Fprintf(b, "%s: not on this node\n  the agent of its own node decides this end: ask there\n",
			style.paint(bold, head))
		return
	}
	fmt.Fprintf(b, "%s: %s, %s\n", style.paint(bold, head),
		style.paint(verdictColor(end.GetVerdict()), VerdictName(end.GetVerdict())), endReason(end))
	if len(end.GetIsolating()) > 0 {
		fmt.Fprintf(b, "  isolated by %s\n", policyNames(end.GetIsolating(), 0))
	}
	outcomes(b, end, style)
	liveMaps(b, end, style)
}

func endReason(end *pb.ExplainEnd) string {
	switch {
	case end.GetReason() == pb.Reason_REASON_RULE && end.GetRule() != nil:
		return "by " + ruleName(end.GetRule())
	case end.GetReason() == pb.Reason_REASON_DENY_RULE && end.GetRule() != nil:
		return ruleName(end.GetRule()) + " denies it"
	}
	return reasonText(end.GetReason())
}

func outcomes(b *strings.Builder, end *pb.ExplainEnd, style Style) {
	t := table{indent: "  "}
	for _, o := range end.GetOutcomes() {
		mark, word := cell{}, cell{text: "no match"}
		if o.GetMatched() {
			word = cell{text: "matches", color: green}
		}
		if decides(end, o) {
			mark = cell{text: "=>", color: bold}
		}
		t.add(mark, word, cell{text: ruleName(o.GetRule())}, text(o.GetWhy()))
	}
	if len(t.rows) == 0 && len(end.GetIsolating()) > 0 {
		b.WriteString("  none of these policies has a rule for this direction\n")
	}
	t.write(b, style)
}

func decides(end *pb.ExplainEnd, o *pb.RuleOutcome) bool {
	return o.GetMatched() && end.GetRule() != nil && sameRule(end.GetRule(), o.GetRule())
}

func sameRule(x, y *pb.RuleRef) bool {
	return x.GetPolicy().GetNamespace() == y.GetPolicy().GetNamespace() &&
		x.GetPolicy().GetName() == y.GetPolicy().GetName() &&
		x.GetDirection() == y.GetDirection() && x.GetIndex() == y.GetIndex()
}

func liveMaps(b *strings.Builder, end *pb.ExplainEnd, style Style) {
	said := VerdictName(end.GetMapVerdict())
	if end.GetMapRule() != nil {
		said += " by " + ruleName(end.GetMapRule())
	}
	switch {
	case end.GetMapVerdict() == pb.Verdict_VERDICT_UNSPECIFIED:
		b.WriteString("  live maps: not asked, nothing is enforced at this end; the command endpoints says why\n")
	case end.GetAgrees():
		fmt.Fprintf(b, "  live maps: agree (%s)\n", said)
	default:
		fmt.Fprintf(b, "  %s\n", style.paint(red, "live maps: DISAGREE, packets get "+said))
		b.WriteString("  a change may be on its way: ask again; if it stays, see the command status, and report it\n")
	}
}
