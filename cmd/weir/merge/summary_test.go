// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"testing"

	pb "github.com/weirnet/weir/api/v1"
)

func group(source string, flows, denials, bytes uint64, first, last int64) *pb.SummaryGroup {
	return &pb.SummaryGroup{
		Source: &pb.Peer{Name: source}, NearestMiss: &pb.NearestMiss{Why: source},
		Counts: &pb.SummaryCounts{Flows: flows, Denials: denials, Sent: &pb.Traffic{Bytes: bytes}, First: at(first), Last: at(last)},
	}
}

// Groups of one key become one, small on each node and large on all.
func TestSummaries(t *testing.T) {
	a := &pb.SummarizeResponse{Groups: []*pb.SummaryGroup{group("x", 10, 0, 1, 5, 9), group("both", 6, 1, 500, 3, 4)},
		Total: &pb.SummaryCounts{Flows: 16, Denials: 1}, Oldest: at(3), Missed: 2}
	b := &pb.SummarizeResponse{Groups: []*pb.SummaryGroup{group("both", 7, 2, 600, 2, 8), group("y", 9, 0, 2, 1, 1)},
		Total: &pb.SummaryCounts{Flows: 16, Denials: 2}, Oldest: at(1), Missed: 3}
	for order, want := range map[pb.SummaryOrder]string{
		pb.SummaryOrder_SUMMARY_ORDER_UNSPECIFIED: "both x ", pb.SummaryOrder_SUMMARY_ORDER_BYTES: "both y ",
		pb.SummaryOrder_SUMMARY_ORDER_NEWEST: "x both ", pb.SummaryOrder_SUMMARY_ORDER_DENIALS: "both x ",
	} {
		s := Summaries([]*pb.SummarizeResponse{a, b}, order, 2)
		got := ""
		for _, g := range s.GetGroups() {
			got += g.GetSource().GetName() + " "
			c := g.GetCounts()
			if g.GetSource().GetName() == "both" && (c.GetFlows() != 13 || c.GetDenials() != 3 || c.GetSent().GetBytes() != 1100 || c.GetFirst().AsTime().UnixMilli() != 2 || c.GetLast().AsTime().UnixMilli() != 8) {
				t.Errorf("both: %v", c)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", order, got, want)
		}
		if s.GetGroupCount() != 3 || s.GetTotal().GetFlows() != 32 || s.GetMissed() != 5 || s.GetOldest().AsTime().UnixMilli() != 3 {
			t.Errorf("%v", s)
		}
	}
	if a.Groups[1].Counts.Flows != 6 {
		t.Error("what was given is changed")
	}
}
