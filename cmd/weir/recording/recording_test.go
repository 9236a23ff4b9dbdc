// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/weirnet/weir/api/v1"
)

func numbered(n uint64) *pb.Flow {
	return &pb.Flow{Sequence: n, Time: &timestamppb.Timestamp{Seconds: int64(n)}, Protocol: 6 + uint32(n%2)*11, Interface: "größe \u202e\n"}
}

// written is a recording of some flows, with losses before the flow that has
// their index.
func written(t *testing.T, losses map[uint64]*pb.Loss, flows ...uint64) string {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, n := range flows {
		if err := w.Write(&pb.WatchResponse{Loss: losses[n], Flows: []*pb.Flow{numbered(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// tale is what was read, in one line.
func tale(t *testing.T, read iter.Seq2[*pb.WatchResponse, error]) (string, error) {
	t.Helper()
	var said []string
	for r, err := range read {
		if err != nil {
			return strings.Join(said, " "), err
		}
		if l := r.GetLoss(); l != nil {
			said = append(said, fmt.Sprintf("lost(%d,%d)", l.GetKernel(), l.GetReader()))
		}
		for _, f := range r.GetFlows() {
			if !proto.Equal(f, numbered(f.GetSequence())) {
				t.Errorf("read back as another flow: %v", f)
			}
			said = append(said, fmt.Sprint(f.GetSequence()))
		}
	}
	return strings.Join(said, " "), nil
}

func TestWrittenIsRead(t *testing.T) {
	losses := map[uint64]*pb.Loss{1: {}, 2: {Kernel: 3}, 4: {Kernel: 3, Reader: 1 << 60}}
	text := written(t, losses, 1, 2, 3, 4)
	if n := strings.Count(text, "\n"); n != 6 {
		t.Errorf("%d lines:\n%s", n, text)
	}
	got, err := tale(t, Read(strings.NewReader(text)))
	if want := "1 lost(3,0) 2 3 lost(3,1152921504606846976) 4"; got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func TestReadErrors(t *testing.T) {
	whole := written(t, nil, 1, 2)
	rows := []struct {
		name, text, told string
		cutOff           bool
		want             []string
	}{
		{"empty", "", "", false, nil},
		{"empty lines", "\n  \n" + whole + "\n", "1 2", false, nil},
		{"the last newline alone is absent", strings.TrimSuffix(whole, "\n"), "1 2", false, nil},
		{"cut off", whole[:len(whole)-5], "1", true, []string{"line 2"}},
		{"cut off in the middle of a rune", whole + "{\"node\":\"\xc3", "1 2", true, []string{"line 3"}},
		{"no JSON", "hello\n", "", false, []string{"line 1", "record or -o json"}},
		{"another object", whole + `{"kind":"Pod"}` + "\n", "1 2", false, []string{"line 3", "newer weir"}},
		{"another field", `{"nope":1}` + "\n", "", false, []string{"line 1", "nope"}},
		{"two objects in a line", `{"sequence":"1"} {"sequence":"2"}` + "\n", "", false, []string{"line 1"}},
		{"a broken loss", `{"loss":7}` + "\n", "", false, []string{"line 1"}},
		{"a line without an end", strings.Repeat("x", longestLine+1), "", false, []string{"line 1", "too long"}},
	}
	for _, row := range rows {
		got, err := tale(t, Read(strings.NewReader(row.text)))
		if got != row.told || (err != nil) != (row.want != nil) || errors.Is(err, ErrCutOff) != row.cutOff {
			t.Errorf("%s: %q, %v", row.name, got, err)
			continue
		}
		for _, want := range row.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v lacks %q", row.name, err, want)
			}
		}
	}
}

func TestPlay(t *testing.T) {
	tcp := &pb.FlowFilter{Protocols: []uint32{6}}
	at := func(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
	text := written(t, map[uint64]*pb.Loss{5: {Kernel: 1}}, 1, 2, 3, 4, 5, 6, 7)
	rows := []struct {
		name string
		req  *pb.WatchRequest
		want string
	}{
		{"all", &pb.WatchRequest{}, "1 2 3 4 lost(1,0) 5 6 7"},
		{"filter", &pb.WatchRequest{Filter: tcp}, "2 4 lost(1,0) 6"},
		{"include", &pb.WatchRequest{Include: []*pb.FlowFilter{tcp, {Protocols: []uint32{7}}}}, "2 4 lost(1,0) 6"},
		{"exclude", &pb.WatchRequest{Exclude: []*pb.FlowFilter{{Protocols: []uint32{17}}}}, "2 4 lost(1,0) 6"},
		{"last", &pb.WatchRequest{Last: 3}, "lost(1,0) 5 6 7"},
		{"last of a filter", &pb.WatchRequest{Last: 2, Filter: tcp}, "lost(1,0) 4 6"},
		{"last, more than there are", &pb.WatchRequest{Last: 100}, "lost(1,0) 1 2 3 4 5 6 7"},
		{"limit", &pb.WatchRequest{Limit: 2}, "1 2"},
		{"last and limit", &pb.WatchRequest{Last: 4, Limit: 2}, "lost(1,0) 4 5"},
		{"since and until", &pb.WatchRequest{Since: at(3), Until: at(6)}, "3 4 lost(1,0) 5"},
		{"nothing", &pb.WatchRequest{Since: at(99), Last: 5}, "lost(1,0)"},
	}
	for _, row := range rows {
		if got, err := tale(t, Play(strings.NewReader(text), row.req)); got != row.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", row.name, got, err, row.want)
		}
	}
}

// Batches are bounded, and each flow is in one.
func TestPlayBatches(t *testing.T) {
	var numbers []uint64
	for n := range uint64(2*batchFlows + 1) {
		numbers = append(numbers, n+1)
	}
	text := written(t, nil, numbers...)
	for _, last := range []uint32{0, 2*batchFlows + 1} {
		var sizes []int
		next := uint64(1)
		for r, err := range Play(strings.NewReader(text), &pb.WatchRequest{Last: last}) {
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, len(r.GetFlows()))
			for _, f := range r.GetFlows() {
				if f.GetSequence() != next {
					t.Fatalf("flow %d, want %d", f.GetSequence(), next)
				}
				next++
			}
		}
		if fmt.Sprint(sizes) != fmt.Sprint([]int{batchFlows, batchFlows, 1}) {
			t.Errorf("last %d: responses of %v flows", last, sizes)
		}
	}
}

// What was held for --last is told before the error that ends the file.
func TestPlayTellsWhatWasReadBeforeTheError(t *testing.T) {
	text := written(t, nil, 1, 2, 3) + "{"
	got, err := tale(t, Play(strings.NewReader(text), &pb.WatchRequest{Last: 2}))
	if got != "2 3" || !errors.Is(err, ErrCutOff) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestReadersMayLeave(t *testing.T) {
	text := written(t, nil, 1, 2, 3)
	for _, req := range []*pb.WatchRequest{{}, {Last: 2}} {
		n := 0
		for range Play(strings.NewReader(text), req) {
			n++
			break
		}
		if n != 1 {
			t.Errorf("%v: %d responses", req, n)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterTellsErrors(t *testing.T) {
	for name, err := range map[string]error{
		"disk":    NewWriter(brokenWriter{}).Write(&pb.WatchResponse{Flows: []*pb.Flow{numbered(1)}}),
		"invalid": NewWriter(io.Discard).Write(&pb.WatchResponse{Flows: []*pb.Flow{{Node: "\xff", Sequence: 7}}}),
	} {
		if err == nil || name == "disk" && !errors.Is(err, io.ErrShortWrite) || name == "invalid" && !strings.Contains(err.Error(), "flow 7") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompileNamesTheField(t *testing.T) {
	rows := []struct {
		filter *pb.FlowFilter
		want   string
	}{
		{&pb.FlowFilter{Pods: []string{"a/b/c"}}, "filter.pods"},
		{&pb.FlowFilter{Policies: []string{"/a"}}, "filter.policies"},
		{&pb.FlowFilter{Rules: []*pb.RuleFilter{{Policy: ""}}}, "filter.rules"},
		{&pb.FlowFilter{Source: &pb.PeerFilter{Ips: []string{"10.0.0.0/33"}}}, "filter.source.ips"},
		{&pb.FlowFilter{Destination: &pb.PeerFilter{Labels: []string{"=="}}}, "filter.destination.labels"},
		{&pb.FlowFilter{Either: &pb.PeerFilter{Services: []string{"a/"}}}, "filter.either.services"},
	}
	for _, row := range rows {
		if _, err := tale(t, Play(strings.NewReader(""), &pb.WatchRequest{Filter: row.filter})); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v", row.filter, err)
		}
	}
}
