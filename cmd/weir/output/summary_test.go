// SPDX-License-Identifier: Apache-2.0

package output

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

// everyKey is all keys; of real ones, one end has one name.
func everyKey() []pb.SummaryKey {
	var keys []pb.SummaryKey
	for _, number := range slices.Sorted(maps.Keys(pb.SummaryKey_name)) {
		if number != 0 {
			keys = append(keys, pb.SummaryKey(number))
		}
	}
	return keys
}

func sampleSummary() *pb.SummarizeResponse {
	at := func(s int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 11, 22, 3, 4, s, 0, time.UTC))
	}
	return &pb.SummarizeResponse{
		Groups: []*pb.SummaryGroup{
			{Source: pod("web", 0), Destination: pod("db", 0), Protocol: protoTCP, Port: 443, Verdict: denied, Direction: ingress, Reason: pb.Reason_REASON_NO_RULE,
				Policies: policyRefs("default-deny"), NearestMiss: &pb.NearestMiss{Rule: rule("allow-app", ingress, 0), Why: "port 443 is not 8080"},
				Counts: &pb.SummaryCounts{Denials: 412, First: at(1), Last: at(9)}},
			{Source: pod("web", 0), Destination: outside(pb.Identity_IDENTITY_WORLD, "203.0.113.7", 0), Protocol: protoICMP, Verdict: audited, Direction: egress, Reason: pb.Reason_REASON_NO_RULE,
				Policies: policyRefs("a", "b", "c", "d"), Counts: &pb.SummaryCounts{Flows: 1, Denials: 1, Sent: &pb.Traffic{Packets: 3, Bytes: 252}, Last: at(2)}},
			{Source: &pb.Peer{Namespace: "shop", Identity: pb.Identity_IDENTITY_POD, Workload: &pb.Workload{Kind: "Deployment", Name: "web"}},
				Destination: service("db", 0), Protocol: protoUDP, Port: 53, Verdict: denied, Direction: egress, Reason: pb.Reason_REASON_DENY_RULE, Rule: rule("no-dns", egress, 1), Policies: policyRefs("no-dns"),
				Counts: &pb.SummaryCounts{Flows: 7, Sent: &pb.Traffic{Packets: 3, Bytes: 4096}, Answered: &pb.Traffic{Packets: 2, Bytes: 1 << 30}, Last: at(3)}},
			{Source: &pb.Peer{Identity: pb.Identity_IDENTITY_NODE}, Destination: &pb.Peer{Namespace: "shop", Identity: pb.Identity_IDENTITY_POD}, Protocol: protoTCP, Port: 8080,
				Verdict: denied, Direction: egress, Reason: pb.Reason_REASON_SPOOFED, Counts: &pb.SummaryCounts{Denials: 1, Last: at(4)}},
		},
		Total:      &pb.SummaryCounts{Flows: 800000, Denials: 514, Sent: &pb.Traffic{Packets: 6, Bytes: 4348}, Answered: &pb.Traffic{Packets: 2, Bytes: 1 << 30}},
		GroupCount: 6, Oldest: at(0),
	}
}

func TestSummaries(t *testing.T) {
	ends := []pb.SummaryKey{pb.SummaryKey_SUMMARY_KEY_SOURCE, pb.SummaryKey_SUMMARY_KEY_DESTINATION, pb.SummaryKey_SUMMARY_KEY_PORT, pb.SummaryKey_SUMMARY_KEY_VERDICT}
	one := &pb.SummarizeResponse{Groups: sampleSummary().Groups[:1], GroupCount: 1}
	rows := []struct {
		file   string
		render func(b *strings.Builder) error
	}{
		{"drops.golden", func(b *strings.Builder) error { return Drops(b, sampleSummary(), Style{}) }},
		{"drops-none.golden", func(b *strings.Builder) error { return Drops(b, &pb.SummarizeResponse{}, Style{}) }},
		{"top.golden", func(b *strings.Builder) error { return Top(b, sampleSummary(), ends, Style{}) }},
		{"top-color.golden", func(b *strings.Builder) error { return Top(b, sampleSummary(), ends, Style{Color: true}) }},
		{"top-every-key.golden", func(b *strings.Builder) error { return Top(b, sampleSummary(), everyKey(), Style{}) }},
		{"top-one.golden", func(b *strings.Builder) error { return Top(b, one, ends, Style{}) }},
		{"top-none.golden", func(b *strings.Builder) error { return Top(b, &pb.SummarizeResponse{}, ends, Style{}) }},
	}
	for _, row := range rows {
		t.Run(row.file, func(t *testing.T) { golden(t, row.file, row.render) })
	}
}

// A key of a newer API would stand as a column of question marks.
func TestEveryKeyHasAColumn(t *testing.T) {
	for _, key := range everyKey() {
		if got := keyCell(sampleSummary().Groups[0], key).text; got == "?" {
			t.Errorf("%s has no column", key)
		}
	}
}

func TestSizeAndSpan(t *testing.T) {
	sizes := []struct {
		bytes uint64
		want  string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {1<<20 - 52, "1023.9 KiB"}, {1<<20 - 51, "1.0 MiB"}, {1 << 30, "1.0 GiB"}, {1<<64 - 1, "16.0 EiB"},
	}
	for _, row := range sizes {
		if got := size(row.bytes); got != row.want {
			t.Errorf("%d: %q, want %q", row.bytes, got, row.want)
		}
	}
	spans := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {1499 * time.Microsecond, "1ms"}, {1234 * time.Millisecond, "1.23s"}, {90*time.Second + 400*time.Millisecond, "1m30s"}, {26 * time.Hour, "26h0m0s"},
	}
	for _, row := range spans {
		if got := span(row.d); got != row.want {
			t.Errorf("%s: %q, want %q", row.d, got, row.want)
		}
	}
}

func TestEveryEndHasWords(t *testing.T) {
	for number, name := range pb.EndReason_name {
		if got := endText(pb.EndReason(number)); strings.HasPrefix(got, "end reason") {
			t.Errorf("%s has no words: %q", name, got)
		}
	}
	if got := endText(99); got != "end reason 99" {
		t.Errorf("an end of a newer agent: %q", got)
	}
}

// YAML says the same as JSON, strings that look like numbers included.
func TestYAMLIsTheSameAsJSON(t *testing.T) {
	odd := &pb.StatusResponse{Node: "123", Version: "true", Mode: "- x: y # z", Kernel: "größe \"'\\", Source: "0x10", RunId: " ",
		Ready: true, EventsEmitted: 1 << 63, Epoch: 1<<32 - 1, EndpointsByState: map[string]uint32{"null": 3}, Maps: []*pb.MapUse{{}, {Name: "~"}}}
	for _, m := range []proto.Message{odd, sampleStatus(), sampleSummary(), &pb.Flow{}} {
		var b strings.Builder
		if err := WriteYAML(&b, m); err != nil {
			t.Fatal(err)
		}
		var fromYAML, fromJSON any
		if err := yaml.Unmarshal([]byte(b.String()), &fromYAML); err != nil {
			t.Fatalf("%v:\n%s", err, b.String())
		}
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &fromJSON); err != nil {
			t.Fatal(err)
		}
		back, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(fromJSON)
		if diff := cmp.Diff(string(want), string(back)); diff != "" {
			t.Errorf("-JSON +YAML:\n%s", diff)
		}
	}
}
