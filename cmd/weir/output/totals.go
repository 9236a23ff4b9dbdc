// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	pb "github.com/weirnet/weir/api/v1"
)

// hasTotals: the record is of a whole flow, and not of one packet.
func hasTotals(f *pb.Flow) bool {
	return f.GetKind() == pb.FlowKind_FLOW_KIND_CLOSED || f.GetKind() == pb.FlowKind_FLOW_KIND_ACTIVE
}

// totals says what a flow has carried: "closed (FIN) after 1.2s, sent 12
// packets 3.4 KiB FIN+SYN+ACK, answered 10 packets 120 KiB FIN+SYN+ACK; ". It is
// empty for the record of a packet.
func totals(f *pb.Flow) string {
	if !hasTotals(f) {
		return ""
	}
	said := "goes on after "
	if f.GetKind() == pb.FlowKind_FLOW_KIND_CLOSED {
		said = "closed (" + endText(f.GetEndReason()) + ") after "
	}
	return said + span(f.GetDuration().AsDuration()) + ", sent " + traffic(f.GetSent()) + ", answered " + traffic(f.GetAnswered()) + "; "
}

// endText says why a flow ended. A reason of a newer agent is its number.
func endText(r pb.EndReason) string {
	switch r {
	case pb.EndReason_END_REASON_UNSPECIFIED:
		return "not told why"
	case pb.EndReason_END_REASON_FIN:
		return "FIN"
	case pb.EndReason_END_REASON_RST:
		return "RST"
	case pb.EndReason_END_REASON_EXPIRED:
		return "silent"
	case pb.EndReason_END_REASON_REVOKED:
		return "cut by a policy change"
	case pb.EndReason_END_REASON_REMOVED:
		return "interface removed"
	}
	return "end reason " + strconv.Itoa(int(r))
}

func traffic(t *pb.Traffic) string {
	said := "1 packet "
	if t.GetPackets() != 1 {
		said = fmt.Sprintf("%d packets ", t.GetPackets())
	}
	said += size(t.GetBytes())
	if flags := flagNames(t.GetTcpFlags()); len(flags) > 0 {
		said += " " + strings.Join(flags, "+") // as --tcp-flags takes them
	}
	return said
}

// span is a duration to three digits or so: ticks of the kernel are 1 to 10 ms.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// size is a number of bytes in the largest unit that leaves it above 1.
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	const units = "KMGTPE"
	// 1023.95 would be written as 1024.0.
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// recordName is what a record tells, with why the flow ended.
func recordName(f *pb.Flow) string {
	if f.GetEndReason() == pb.EndReason_END_REASON_UNSPECIFIED {
		return kindName(f.GetKind())
	}
	return kindName(f.GetKind()) + ", " + endText(f.GetEndReason())
}

// kindName is the word for what a record tells, as flags take it.
func kindName(k pb.FlowKind) string {
	name, known := pb.FlowKind_name[int32(k)]
	if !known {
		return strconv.Itoa(int(k))
	}
	return strings.ToLower(strings.TrimPrefix(name, "FLOW_KIND_"))
}
