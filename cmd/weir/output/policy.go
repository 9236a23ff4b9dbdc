// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// Policies writes a table of policies.
func Policies(to io.Writer, list []*pb.Policy, style Style) error {
	var b strings.Builder
	if len(list) == 0 {
		b.WriteString("no policies\n")
		return flush(to, &b)
	}
	var t table
	t.header("POLICY", "SUBJECTS", "ISOLATES", "RULES", "PODS HERE", "PROBLEMS")
	for _, p := range list {
		problems := cell{text: "-"}
		if n := problemCount(p); n > 0 {
			problems = cell{text: strconv.Itoa(n), color: red}
		}
		t.add(cell{text: policyName(p.GetRef())}, text(orDash(p.GetSubjects())), cell{text: isolates(p)},
			cell{text: strconv.Itoa(len(p.GetRules()))}, cell{text: strconv.Itoa(len(p.GetPods()))}, problems)
	}
	t.write(&b, style)
	return flush(to, &b)
}

func isolates(p *pb.Policy) string {
	switch {
	case p.GetIsolatesIngress() && p.GetIsolatesEgress():
		return "ingress,egress"
	case p.GetIsolatesIngress():
		return "ingress"
	case p.GetIsolatesEgress():
		return "egress"
	}
	return "-"
}

func problemCount(p *pb.Policy) int {
	n := len(p.GetProblems())
	for _, r := range p.GetRules() {
		n += len(r.GetProblems())
	}
	return n
}

// Policy writes one policy in full.
func Policy(to io.Writer, p *pb.Policy, style Style) error {
	var b strings.Builder
	var head table
	line := func(name, value string) {
		head.add(cell{text: name, color: bold}, cell{text: value})
	}
	line("Policy", policyName(p.GetRef()))
	if p.GetUid() != "" {
		line("UID", Escape(p.GetUid()))
	}
	line("Subjects", orDash(Escape(p.GetSubjects())))
	line("Isolates", isolates(p))
	head.write(&b, style)

	problemList(&b, "Problems", p.GetProblems(), style)
	for _, d := range []pb.Direction{pb.Direction_DIRECTION_INGRESS, pb.Direction_DIRECTION_EGRESS} {
		isolated := p.GetIsolatesIngress()
		if d == pb.Direction_DIRECTION_EGRESS {
			isolated = p.GetIsolatesEgress()
		}
		rules(&b, p, d, isolated, style)
	}
	title(&b, fmt.Sprintf("Pods on this node (%d)", len(p.GetPods())), style)
	for _, pod := range p.GetPods() {
		b.WriteString("  " + Escape(pod) + "\n")
	}
	if len(p.GetPods()) == 0 {
		b.WriteString("  none that it selects\n")
	}
	return flush(to, &b)
}

func problemList(b *strings.Builder, name string, problems []string, style Style) {
	if len(problems) == 0 {
		return
	}
	title(b, name, style)
	for _, problem := range problems {
		b.WriteString("  " + style.paint(red, Escape(problem)) + "\n")
	}
}

func rules(b *strings.Builder, p *pb.Policy, d pb.Direction, isolated bool, style Style) {
	name := "Ingress"
	if d == pb.Direction_DIRECTION_EGRESS {
		name = "Egress"
	}
	if !isolated {
		title(b, name+" rules: none, this direction is not isolated by it", style)
		return
	}
	t := table{indent: "  "}
	for _, r := range p.GetRules() {
		if r.GetRef().GetDirection() != d {
			continue
		}
		t.add(cell{text: strconv.FormatUint(uint64(r.GetRef().GetIndex()), 10), right: true}, text(r.GetText()))
		for _, problem := range r.GetProblems() {
			t.add(cell{}, cell{text: "problem: " + Escape(problem), color: red})
		}
	}
	if len(t.rows) == 0 {
		title(b, name+" rules: none, so it allows nothing", style)
		return
	}
	title(b, name+" rules", style)
	t.write(b, style)
}
