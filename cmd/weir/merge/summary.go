// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

// Most is how many groups an agent is asked for, so that none that is small on
// each node and large on all is left out.
const Most = 10000

// Summaries adds what several agents count, and keeps the first top groups in
// the given order. A connection between two nodes is a flow at each of them, as
// one between two pods of a node is a flow at each of those, and is counted at
// each. The oldest record is that of the node that remembers the shortest time.
func Summaries(list []*pb.SummarizeResponse, order pb.SummaryOrder, top int) *pb.SummarizeResponse {
	out := &pb.SummarizeResponse{Total: &pb.SummaryCounts{}}
	groups := map[string]*pb.SummaryGroup{}
	for _, s := range list {
		for _, g := range s.GetGroups() {
			key := groupKey(g)
			known := groups[key]
			if known == nil {
				groups[key] = proto.CloneOf(g)
				continue
			}
			if g.GetNearestMiss() != nil && !g.GetCounts().GetLast().AsTime().Before(known.GetCounts().GetLast().AsTime()) {
				known.NearestMiss = g.GetNearestMiss()
			}
			add(known.Counts, g.GetCounts())
		}
		add(out.Total, s.GetTotal())
		out.Missed += s.GetMissed()
		if o := s.GetOldest(); o != nil && (out.Oldest == nil || o.AsTime().After(out.Oldest.AsTime())) {
			out.Oldest = o
		}
	}
	out.GroupCount = uint32(len(groups))
	for _, g := range groups {
		out.Groups = append(out.Groups, g)
	}
	slices.SortFunc(out.Groups, func(a, b *pb.SummaryGroup) int {
		return cmp.Or(rank(a.GetCounts(), b.GetCounts(), order), cmp.Compare(groupKey(a), groupKey(b)))
	})
	out.Groups = out.Groups[:min(top, len(out.Groups))]
	return out
}

// groupKey is what the flows of a group have in common.
func groupKey(g *pb.SummaryGroup) string {
	key := proto.CloneOf(g)
	key.Counts, key.NearestMiss = nil, nil
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(key) // fails only for text that is not UTF-8, which was never unmarshalled
	return string(b)
}

// rank puts the greater first.
func rank(a, b *pb.SummaryCounts, order pb.SummaryOrder) int {
	weight := func(c *pb.SummaryCounts) uint64 {
		switch order {
		case pb.SummaryOrder_SUMMARY_ORDER_PACKETS:
			return c.GetSent().GetPackets() + c.GetAnswered().GetPackets()
		case pb.SummaryOrder_SUMMARY_ORDER_BYTES:
			return c.GetSent().GetBytes() + c.GetAnswered().GetBytes()
		case pb.SummaryOrder_SUMMARY_ORDER_DENIALS:
			return c.GetDenials()
		}
		return c.GetFlows() + c.GetDenials()
	}
	if order == pb.SummaryOrder_SUMMARY_ORDER_NEWEST {
		return b.GetLast().AsTime().Compare(a.GetLast().AsTime())
	}
	return cmp.Compare(weight(b), weight(a))
}

func add(to, more *pb.SummaryCounts) {
	to.Flows += more.GetFlows()
	to.Denials += more.GetDenials()
	to.Sent, to.Answered = traffic(to.Sent, more.GetSent()), traffic(to.Answered, more.GetAnswered())
	to.First = outer(to.First, more.GetFirst(), -1)
	to.Last = outer(to.Last, more.GetLast(), 1)
}

func traffic(a, b *pb.Traffic) *pb.Traffic {
	if a == nil && b == nil {
		return nil
	}
	return &pb.Traffic{
		Packets: a.GetPackets() + b.GetPackets(), Bytes: a.GetBytes() + b.GetBytes(), TcpFlags: a.GetTcpFlags() | b.GetTcpFlags(),
	}
}

// outer is the earlier (-1) or later (1) of two times, of which any may be absent.
func outer(a, b *timestamppb.Timestamp, sign int) *timestamppb.Timestamp {
	switch {
	case a == nil:
		return b
	case b == nil || a.AsTime().Compare(b.AsTime()) == sign:
		return a
	}
	return b
}
