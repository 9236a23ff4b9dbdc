// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// Top writes groups of flows by the keys that they were asked for with.
func Top(to io.Writer, s *pb.SummarizeResponse, by []pb.SummaryKey, style Style) error {
	var t table
	titles := []string{"FLOWS", "DENIALS", "PACKETS", "BYTES"}
	for _, key := range by {
		titles = append(titles, keyTitle(key))
	}
	t.header(titles...)
	for i := range 4 {
		t.rows[0][i].right = true
	}
	for _, g := range s.GetGroups() {
		row := countCells(g.GetCounts())
		for _, key := range by {
			row = append(row, keyCell(g, key))
		}
		t.add(row...)
	}
	var b strings.Builder
	withTotal(&b, &t, countCells(s.GetTotal()), totalText(s, style), style)
	return flush(to, &b)
}

func countCells(c *pb.SummaryCounts) []cell {
	denials := number(strconv.FormatUint(c.GetDenials(), 10))
	if c.GetDenials() > 0 {
		denials.color = red
	}
	return []cell{
		number(strconv.FormatUint(c.GetFlows(), 10)), denials,
		number(strconv.FormatUint(c.GetSent().GetPackets()+c.GetAnswered().GetPackets(), 10)),
		number(size(c.GetSent().GetBytes() + c.GetAnswered().GetBytes())),
	}
}

// totalText says what the counts are of.
func totalText(s *pb.SummarizeResponse, style Style) string {
	said := "all of 1 group"
	if n := s.GetGroupCount(); n != 1 {
		said = fmt.Sprintf("all of %d groups", n)
	}
	if left := int(s.GetGroupCount()) - len(s.GetGroups()); left > 0 {
		said += fmt.Sprintf(", %d not shown", left)
	}
	if s.GetOldest() != nil {
		said += "; flows are kept since " + style.Clock(s.GetOldest().AsTime())
	}
	return said
}

func keyTitle(key pb.SummaryKey) string {
	return strings.ReplaceAll(strings.TrimPrefix(key.String(), "SUMMARY_KEY_"), "_", " ")
}

func keyCell(g *pb.SummaryGroup, key pb.SummaryKey) cell {
	switch key {
	case pb.SummaryKey_SUMMARY_KEY_SOURCE, pb.SummaryKey_SUMMARY_KEY_SOURCE_WORKLOAD, pb.SummaryKey_SUMMARY_KEY_SOURCE_NAMESPACE:
		return cell{text: groupEnd(g.GetSource())}
	case pb.SummaryKey_SUMMARY_KEY_DESTINATION, pb.SummaryKey_SUMMARY_KEY_DESTINATION_WORKLOAD, pb.SummaryKey_SUMMARY_KEY_DESTINATION_NAMESPACE:
		return cell{text: groupEnd(g.GetDestination())}
	case pb.SummaryKey_SUMMARY_KEY_PORT:
		return cell{text: portText(g)}
	case pb.SummaryKey_SUMMARY_KEY_VERDICT:
		return cell{text: VerdictName(g.GetVerdict()), color: verdictColor(g.GetVerdict())}
	case pb.SummaryKey_SUMMARY_KEY_POLICY:
		return cell{text: orDash(policyNames(g.GetPolicies(), isolatingShown))}
	case pb.SummaryKey_SUMMARY_KEY_RULE:
		if g.GetRule() == nil {
			return cell{text: "-"}
		}
		return cell{text: ruleName(g.GetRule())}
	case pb.SummaryKey_SUMMARY_KEY_REASON:
		return cell{text: reasonCode(g.GetReason())}
	case pb.SummaryKey_SUMMARY_KEY_DIRECTION:
		return cell{text: orDash(directionName(g.GetDirection()))}
	}
	return cell{text: "?"}
}

// groupEnd is one end of a group, which has a name of one of many kinds.
func groupEnd(p *pb.Peer) string {
	switch w := p.GetWorkload(); {
	case w.GetName() != "":
		return object(p.GetNamespace(), w.GetName()) + " (" + Escape(w.GetKind()) + ")"
	case p.GetName() == "" && p.GetIp() == "" && p.GetNamespace() != "":
		return Escape(p.GetNamespace())
	case p.GetName() == "" && p.GetIp() == "" && p.GetIdentity() == pb.Identity_IDENTITY_NODE:
		return "node"
	}
	return peerText(&pb.Peer{Ip: p.GetIp(), Identity: p.GetIdentity(), Namespace: p.GetNamespace(), Name: p.GetName()}, 0)
}

// portText is "443/TCP", or the protocol where it has no ports.
func portText(g *pb.SummaryGroup) string {
	if g.GetPort() == 0 && !hasPorts(g.GetProtocol()) {
		return ProtocolName(g.GetProtocol())
	}
	return fmt.Sprintf("%d/%s", g.GetPort(), ProtocolName(g.GetProtocol()))
}

// DropKeys are what Drops wants its groups made by.
func DropKeys() []pb.SummaryKey {
	return []pb.SummaryKey{
		pb.SummaryKey_SUMMARY_KEY_SOURCE, pb.SummaryKey_SUMMARY_KEY_DESTINATION, pb.SummaryKey_SUMMARY_KEY_PORT,
		pb.SummaryKey_SUMMARY_KEY_VERDICT, pb.SummaryKey_SUMMARY_KEY_DIRECTION, pb.SummaryKey_SUMMARY_KEY_REASON,
		pb.SummaryKey_SUMMARY_KEY_POLICY, pb.SummaryKey_SUMMARY_KEY_RULE,
	}
}

// Drops writes groups by DropKeys: how often, when last, who, whither, why.
func Drops(to io.Writer, s *pb.SummarizeResponse, style Style) error {
	var b strings.Builder
	if len(s.GetGroups()) == 0 {
		b.WriteString("nothing that is kept was denied\n")
		return flush(to, &b)
	}
	var t table
	t.header("DENIALS", "LAST", "VERDICT", "SOURCE", "DESTINATION", "PORT", "WHY")
	t.rows[0][0].right = true
	for _, g := range s.GetGroups() {
		t.add(
			number(strconv.FormatUint(g.GetCounts().GetDenials(), 10)),
			cell{text: style.Clock(g.GetCounts().GetLast().AsTime()), color: faint},
			keyCell(g, pb.SummaryKey_SUMMARY_KEY_VERDICT),
			cell{text: groupEnd(g.GetSource())}, cell{text: groupEnd(g.GetDestination())}, cell{text: portText(g)},
			cell{text: dropReason(g)})
	}
	denials := []cell{number(strconv.FormatUint(s.GetTotal().GetDenials(), 10))}
	withTotal(&b, &t, denials, totalText(s, style), style)
	return flush(to, &b)
}

// withTotal writes the table and a last row that ends with a sentence, which no
// column need be as wide as.
func withTotal(b *strings.Builder, t *table, counts []cell, said string, style Style) {
	total := table{rows: [][]cell{counts}}
	t.least = total.widths()
	t.write(b, style)
	total.least = t.widths()[:len(counts)]
	total.rows[0] = append(counts, cell{text: said, color: faint})
	total.write(b, style)
}

// dropReason words a group as the last column of a flow's line does.
func dropReason(g *pb.SummaryGroup) string {
	f := &pb.Flow{Reason: g.GetReason(), Rule: g.GetRule(), NearestMiss: g.GetNearestMiss()}
	if g.GetRule() == nil {
		f.Isolating = slices.Clone(g.GetPolicies())
	}
	said := decision(f, isolatingShown)
	if direction := directionName(g.GetDirection()); direction != "" {
		return direction + ": " + said
	}
	return said
}
