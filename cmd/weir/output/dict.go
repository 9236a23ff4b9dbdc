// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// dict writes a flow as a block of names and values, with what is absent left
// out.
func (w *Flows) dict(b *strings.Builder, f *pb.Flow) {
	var t table
	line := func(name, value string, c color) {
		if value != "" {
			t.add(cell{text: name, color: bold, right: true}, cell{text: value, color: c})
		}
	}
	line("TIME", w.clock(f), plain)
	line("NODE", Escape(f.GetNode()), plain)
	line("RECORD", recordName(f), plain)
	line("VERDICT", VerdictName(f.GetVerdict()), verdictColor(f.GetVerdict()))
	line("SOURCE", peerDetail(f.GetSource(), f.GetProtocol()), plain)
	line("SOURCE LABELS", labelText(f.GetSource().GetLabels()), plain)
	line("DESTINATION", peerDetail(f.GetDestination(), f.GetProtocol()), plain)
	line("DESTINATION LABELS", labelText(f.GetDestination().GetLabels()), plain)
	if f.GetService() != nil {
		line("SERVICE", peerDetail(f.GetService(), f.GetProtocol()), plain)
	}
	line("PROTOCOL", flowProtocol(f), plain)
	line("TCP FLAGS", tcpFlags(f), plain)
	if f.GetReply() {
		line("REPLY", "yes", plain)
	}
	line("DIRECTION", directionName(f.GetDirection()), plain)
	line("REASON", reasonCode(f.GetReason()), plain)
	line("WHY", why(f, 0), plain)
	line("INTERFACE", Escape(f.GetInterface()), plain)
	if f.GetId() != 0 {
		line("ID", flowID(f), plain)
	}
	w.measures(f, line)
	t.write(b, w.style)
	b.WriteString("---\n")
}

func (w *Flows) measures(f *pb.Flow, line func(name, value string, c color)) {
	if !hasTotals(f) {
		line("LENGTH", fmt.Sprintf("%d B", f.GetLength()), plain)
		return
	}
	if f.GetStart() != nil {
		line("START", w.style.in(f.GetStart().AsTime()).Format(wideTime), plain)
	}
	line("DURATION", span(f.GetDuration().AsDuration()), plain)
	line("SENT", traffic(f.GetSent()), plain)
	line("ANSWERED", traffic(f.GetAnswered()), plain)
}

// flowID is written as --id reads it.
func flowID(f *pb.Flow) string { return "0x" + strconv.FormatUint(f.GetId(), 16) }

// peerDetail adds the address and the workload to what a line shows.
func peerDetail(p *pb.Peer, protocol uint32) string {
	said := peerText(p, protocol)
	if p.GetName() != "" && p.GetIp() != "" {
		said += ", " + Escape(p.GetIp())
	}
	if w := p.GetWorkload(); w.GetName() != "" {
		said += ", " + Escape(w.GetKind()) + " " + Escape(w.GetName())
	}
	return said
}

// labelText is a pod's labels as a selector that matches them, by name.
func labelText(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, Escape(key)+"="+Escape(labels[key]))
	}
	return strings.Join(pairs, ",")
}
