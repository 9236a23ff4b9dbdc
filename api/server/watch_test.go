// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// add puts n flows in the store, one a second; odd sequences are TCP, even
// ones UDP.
func add(s *flows.Store, n int) {
	for range n {
		_, newest := s.Bounds()
		protocol := policy.UDP
		if newest%2 == 0 {
			protocol = policy.TCP
		}
		s.Add(&flows.Flow{
			Time: time.Unix(int64(newest+1), 0), Protocol: protocol, Verdict: flows.Allowed,
			Source: flows.Peer{Addr: netip.MustParseAddr("10.0.0.1"), Port: 1},
		})
	}
}

// span of flows as text, checking that they ascend.
func span(t *testing.T, list []*weirv1.Flow) string {
	t.Helper()
	if len(list) == 0 {
		return ""
	}
	for i := 1; i < len(list); i++ {
		if list[i].Sequence <= list[i-1].Sequence {
			t.Fatalf("sequence %d after %d", list[i].Sequence, list[i-1].Sequence)
		}
	}
	return fmt.Sprintf("%d-%d:%d", list[0].Sequence, list[len(list)-1].Sequence, len(list))
}

func udpOnly() *weirv1.FlowFilter { return &weirv1.FlowFilter{Protocols: []uint32{17}} }

func TestWatchOfKeptFlows(t *testing.T) {
	r := start(t)
	add(r.store, 1500) // 477 to 1500 are kept
	at := func(second int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: second} }
	for _, row := range []struct {
		name     string
		req      *weirv1.WatchRequest
		want     string
		reader   uint64
		sequence uint64
	}{
		{"all", &weirv1.WatchRequest{}, "477-1500:1024", 0, 1500},
		{"the last ones", &weirv1.WatchRequest{Last: 3}, "1498-1500:3", 0, 1500},
		{"the last ones of a filter", &weirv1.WatchRequest{Last: 3, Filter: udpOnly()}, "1496-1500:3", 0, 1500},
		{"since", &weirv1.WatchRequest{Since: at(1490)}, "1490-1500:11", 0, 1500},
		{"since, the last ones", &weirv1.WatchRequest{Since: at(1490), Last: 4}, "1497-1500:4", 0, 1500},
		{"since later", &weirv1.WatchRequest{Since: at(9999)}, "", 0, 1500},
		{"resumed", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 1400}, "1401-1500:100", 0, 1500},
		{"resumed in time for all", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 476}, "477-1500:1024", 0, 1500},
		{"resumed too late", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 470}, "477-1500:1024", 6, 1500},
		{"resumed from the beginning", &weirv1.WatchRequest{RunId: "run-1"}, "477-1500:1024", 476, 1500},
		{"resumed with nothing new", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 1500}, "", 0, 1500},
		{"resumed, filtered", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 1490, Filter: udpOnly()}, "1492-1500:5", 0, 1500},
		{"of another run", &weirv1.WatchRequest{RunId: "run-0", AfterSequence: 99999, Last: 2}, "1499-1500:2", 0, 1500},
	} {
		got, responses := watchAll(t, r, row.req)
		first, last := responses[0], responses[len(responses)-1]
		if span(t, got) != row.want {
			t.Errorf("%s: flows %s, want %s", row.name, span(t, got), row.want)
		}
		if first.RunId != "run-1" || first.Loss == nil || last.Sequence != row.sequence {
			t.Errorf("%s: run %q, loss %v, sequence %d", row.name, first.RunId, first.Loss, last.Sequence)
		}
		if first.Loss.GetReader() != row.reader || first.Loss.GetKernel() != 0 {
			t.Errorf("%s: loss %v, want %d", row.name, first.Loss, row.reader)
		}
		for _, later := range responses[1:] {
			if later.Loss != nil {
				t.Errorf("%s: loss told twice: %v", row.name, later.Loss)
			}
		}
	}
	if n := r.store.Subscribers(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

// watchAll reads a watch that does not follow.
func watchAll(t *testing.T, r *running, req *weirv1.WatchRequest) ([]*weirv1.Flow, []*weirv1.WatchResponse) {
	t.Helper()
	stream, err := r.Flows.Watch(limited(t), req)
	if err != nil {
		t.Fatal(err)
	}
	var list []*weirv1.Flow
	var responses []*weirv1.WatchResponse
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, responses
		}
		if err != nil {
			t.Fatalf("%v: %v", req, err)
		}
		if len(response.Flows) > 256 {
			t.Errorf("%d flows in one response", len(response.Flows))
		}
		list = append(list, response.Flows...)
		responses = append(responses, response)
	}
}

func TestWatchOfAnEmptyStore(t *testing.T) {
	r := start(t)
	list, responses := watchAll(t, r, &weirv1.WatchRequest{})
	if len(list) != 0 || len(responses) != 1 || responses[0].Loss == nil {
		t.Errorf("%d flows in %v", len(list), responses)
	}
}

// reader of a watch that follows: it collects until a condition holds.
type reader struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[weirv1.WatchResponse]
	list   []*weirv1.Flow
	losses []*weirv1.Loss
	last   *weirv1.WatchResponse
	count  int
}

func follow(t *testing.T, r *running, req *weirv1.WatchRequest) *reader {
	t.Helper()
	req.Follow = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := r.Flows.Watch(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	w := &reader{t: t, stream: stream}
	w.until(func() bool { return w.count == 1 })
	return w
}

func (w *reader) until(enough func() bool) {
	w.t.Helper()
	for !enough() {
		response, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("after %d responses, %d flows: %v", w.count, len(w.list), err)
		}
		w.count++
		w.last = response
		w.list = append(w.list, response.Flows...)
		if response.Loss != nil {
			w.losses = append(w.losses, response.Loss)
		}
	}
}

func TestFollow(t *testing.T) {
	for _, row := range []struct {
		name string
		req  *weirv1.WatchRequest
		want string
	}{
		{"what comes", &weirv1.WatchRequest{}, "11-20:10"},
		{"the last and what comes", &weirv1.WatchRequest{Last: 2}, "9-20:12"},
		{"since and what comes", &weirv1.WatchRequest{Since: &timestamppb.Timestamp{Seconds: 8}}, "8-20:13"},
		{"resumed", &weirv1.WatchRequest{RunId: "run-1", AfterSequence: 5}, "6-20:15"},
		{"another run", &weirv1.WatchRequest{RunId: "run-0", AfterSequence: 5}, "11-20:10"},
		{"a filter", &weirv1.WatchRequest{Filter: udpOnly()}, "12-20:5"},
	} {
		r := start(t)
		add(r.store, 10)
		w := follow(t, r, row.req)
		add(r.store, 10)
		w.until(func() bool { return w.last.Sequence == 20 })
		if got := span(t, w.list); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// Flows that come quickly are told together: at most one response in 50 ms
// that is not full. A burst comes in full ones.
func TestFollowBatches(t *testing.T) {
	r := start(t)
	w := follow(t, r, &weirv1.WatchRequest{})
	all := func() bool { return w.last.Sequence == newest(r) }
	add(r.store, 1000)
	w.until(all)
	if w.count > 1+5 {
		t.Errorf("1000 flows at once came in %d responses", w.count-1)
	}
	begun, before := time.Now(), w.count
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for range 200 {
		<-pace.C
		add(r.store, 1)
	}
	w.until(all)
	// One more for each end of the span.
	if most := int(time.Since(begun)/(50*time.Millisecond)) + 2; w.count-before > most {
		t.Errorf("%d responses in %s", w.count-before, time.Since(begun))
	}
}

func newest(r *running) uint64 {
	_, n := r.store.Bounds()
	return n
}

func TestFollowTellsKernelLosses(t *testing.T) {
	r := start(t)
	r.lost.Store(100) // before this reader: not its loss
	w := follow(t, r, &weirv1.WatchRequest{})
	if got := w.losses[0]; got.Kernel != 0 || got.Reader != 0 {
		t.Errorf("at first: %v", got)
	}
	// Without a flow, and with one.
	r.lost.Store(103)
	w.until(func() bool { return len(w.losses) == 2 })
	r.lost.Store(104)
	r.limited.Store(7)
	add(r.store, 1)
	w.until(func() bool { return len(w.losses) == 3 })
	if w.losses[1].Kernel != 3 || w.losses[2].Kernel != 4 || w.losses[2].Limited != 7 {
		t.Errorf("losses %v", w.losses)
	}
	add(r.store, 1)
	w.until(func() bool { return len(w.list) == 2 })
	if len(w.losses) != 3 {
		t.Errorf("a loss told again: %v", w.losses)
	}
	// Other programs count anew: not a loss of 2^64.
	r.lost.Store(1)
	w.until(func() bool { return len(w.losses) == 4 })
	if w.losses[3].Kernel != 0 {
		t.Errorf("losses %v", w.losses)
	}
}

// A reader whose filter nothing passes learns how far it has been served: when
// it comes back, what its filter left out is not counted as missed.
func TestFollowTellsItsPlace(t *testing.T) {
	r := start(t)
	w := follow(t, r, &weirv1.WatchRequest{Filter: &weirv1.FlowFilter{Protocols: []uint32{99}}})
	add(r.store, flows.MinCapacity/2)
	w.until(func() bool { return w.last.Sequence == newest(r) })
	if len(w.list) != 0 || w.count > 5 {
		t.Errorf("%d flows in %d responses", len(w.list), w.count)
	}
}

// A reader that stops reading holds up neither the store nor another reader,
// and learns how many flows it missed.
func TestSlowReader(t *testing.T) {
	r := start(t)
	slow, quick := follow(t, r, &weirv1.WatchRequest{}), follow(t, r, &weirv1.WatchRequest{})
	big := &policy.Pod{Labels: map[string]string{"x": strings.Repeat("y", 10_000)}}
	const total = 4000
	for i := range total {
		r.store.Add(&flows.Flow{Time: time.Unix(1, 0), Source: flows.Peer{Pod: big, Identity: flows.PodIdentity}})
		if i%500 == 499 {
			quick.until(func() bool { return quick.last.Sequence == newest(r) })
			quick.list = append([]*weirv1.Flow(nil), quick.list[len(quick.list)-1:]...)
		}
	}
	if n := len(quick.losses); n != 1 {
		t.Errorf("the quick reader lost flows: %v", quick.losses)
	}
	got := 0
	slow.until(func() bool {
		got += len(slow.list)
		slow.list = nil
		return slow.last.Sequence == total
	})
	missed := slow.losses[len(slow.losses)-1].Reader
	if missed == 0 || got+int(missed) != total {
		t.Errorf("the slow reader: %d read, %d missed of %d", got, missed, total)
	}
}

// With heavy flows a response is cut by weight: a gRPC client takes 4 MiB.
func TestHeavyFlowsAreSplit(t *testing.T) {
	r := start(t)
	big := &policy.Pod{Labels: map[string]string{"x": strings.Repeat("y", 700_000)}}
	for range 10 {
		r.store.Add(&flows.Flow{Time: time.Unix(1, 0), Source: flows.Peer{Pod: big, Identity: flows.PodIdentity}})
	}
	list, responses := watchAll(t, r, &weirv1.WatchRequest{})
	if span(t, list) != "1-10:10" || len(responses) != 5 {
		t.Errorf("%s in %d responses", span(t, list), len(responses))
	}
	for i, response := range responses {
		if n := len(response.Flows); n != 2 || response.Sequence != response.Flows[n-1].Sequence {
			t.Errorf("response %d: %d flows, sequence %d", i, n, response.Sequence)
		}
	}
	pages, flowsSeen := 0, 0
	for token := ""; pages == 0 || token != ""; pages++ {
		page, err := r.Flows.List(limited(t), &weirv1.ListRequest{PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		flowsSeen += len(page.Flows)
		token = page.NextPageToken
	}
	if flowsSeen != 10 || pages != 2 {
		t.Errorf("%d flows in %d pages", flowsSeen, pages)
	}
}

func TestWatchRefuses(t *testing.T) {
	r := start(t)
	add(r.store, 3)
	for _, row := range []struct {
		req  *weirv1.WatchRequest
		says []string
	}{
		{&weirv1.WatchRequest{AfterSequence: 3}, []string{"after_sequence: needs run_id"}},
		{&weirv1.WatchRequest{AfterSequence: 4, RunId: "run-1"}, []string{"after_sequence: 4 is beyond the newest flow of this run, 3"}},
		{&weirv1.WatchRequest{Since: &timestamppb.Timestamp{Nanos: -1}}, []string{"since: not a time"}},
		{&weirv1.WatchRequest{Filter: &weirv1.FlowFilter{Verdicts: []weirv1.Verdict{0, 9}}}, []string{"filter.verdicts[0]: VERDICT_UNSPECIFIED is not a value that a flow can have", "filter.verdicts[1]: 9"}},
		{&weirv1.WatchRequest{Filter: &weirv1.FlowFilter{Ips: []string{"x"}, Ports: []uint32{70000}, Verdicts: []weirv1.Verdict{9}}}, []string{"filter.ips[0]", "filter.ports[0]", "filter.verdicts[0]"}},
	} {
		stream, err := r.Flows.Watch(limited(t), row.req)
		if err == nil {
			_, err = stream.Recv()
		}
		wantError(t, row.req.String(), err, codes.InvalidArgument, row.says...)
	}
}
