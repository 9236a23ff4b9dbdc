// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(ms int64) *timestamppb.Timestamp { return timestamppb.New(time.UnixMilli(ms)) }

// seeded is for one source: they run side by side.
func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 1)) }

// batches of flows, as one agent tells them.
func batches(node string, random *rand.Rand, times []int64, then error) Source {
	return Source{Node: node, Updates: func(context.Context) iter.Seq2[client.Update, error] {
		return func(yield func(client.Update, error) bool) {
			for rest, sequence := times, uint64(0); len(rest) > 0; {
				r := &pb.WatchResponse{}
				for range min(1+random.IntN(300), len(rest)) {
					sequence++
					r.Flows = append(r.Flows, &pb.Flow{Node: node, Sequence: sequence, Time: at(rest[0])})
					rest = rest[1:]
				}
				if !yield(client.Update{Response: r}, nil) {
					return
				}
			}
			if then != nil {
				yield(client.Update{}, then)
			}
		}
	}}
}

// Each flow comes once, and the merged order is out by no more than the worst of
// the streams.
func TestOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, out := range []int64{0, 0, 7, 50} {
		var sources []Source
		total := 0
		for i := range 1 + random.IntN(6) {
			times := make([]int64, random.IntN(5000))
			for j, now := 0, random.Int64N(2000); j < len(times); j++ {
				now += random.Int64N(4)
				times[j] = now + random.Int64N(out+1)
			}
			total += len(times)
			sources = append(sources, batches(fmt.Sprint("n", i), rand.New(rand.NewPCG(seed, uint64(i))), times, nil))
		}
		seen := map[string]bool{}
		newest := int64(0)
		for u, err := range Streams(t.Context(), sources, Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range u.Response.GetFlows() {
				key := fmt.Sprint(f.GetNode(), " ", f.GetSequence())
				now := f.GetTime().AsTime().UnixMilli()
				if seen[key] || newest-now > out {
					t.Fatalf("%s at %d after %d; streams are out by %d (again: %t)", key, now, newest, out, seen[key])
				}
				seen[key], newest = true, max(newest, now)
			}
		}
		if len(seen) != total {
			t.Errorf("%d flows of %d came", len(seen), total)
		}
	}
}

func TestLastOfAll(t *testing.T) {
	sources := []Source{batches("a", seeded(1), []int64{1, 4, 6, 9}, nil), batches("b", seeded(2), []int64{2, 3, 7, 8}, nil)}
	var got []int64
	for u := range Streams(t.Context(), sources, Options{Last: 3}) {
		for _, f := range u.Response.GetFlows() {
			got = append(got, f.GetTime().AsTime().UnixMilli())
		}
	}
	if !slices.Equal(got, []int64{7, 8, 9}) {
		t.Errorf("%v", got)
	}
}

// A node that fails is named, and the others go on.
func TestMissing(t *testing.T) {
	gone := errors.New("connection refused")
	var missing []string
	flows := 0
	sources := []Source{batches("a", seeded(1), []int64{5}, gone), batches("b", seeded(2), []int64{1, 2, 9}, nil), batches("c", seeded(3), nil, gone)}
	for u, err := range Streams(t.Context(), sources, Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Missing != nil {
			missing = append(missing, u.Node)
		}
		flows += len(u.Response.GetFlows())
	}
	slices.Sort(missing)
	if flows != 4 || !slices.Equal(missing, []string{"a", "c"}) {
		t.Errorf("%d flows, missing %v", flows, missing)
	}
}

// A quiet node holds nobody up for longer than the window, one that is being
// looked for not at all, and one that is too far ahead stands still.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told atomic.Int64
		busy := Source{Node: "busy", Updates: func(ctx context.Context) iter.Seq2[client.Update, error] {
			return func(yield func(client.Update, error) bool) {
				for i := int64(0); ctx.Err() == nil; i++ {
					told.Add(1)
					if !yield(client.Update{Response: &pb.WatchResponse{Flows: []*pb.Flow{{Node: "busy", Time: at(i)}}}}, nil) {
						return
					}
				}
			}
		}}
		quiet := Source{Node: "quiet", Updates: func(ctx context.Context) iter.Seq2[client.Update, error] {
			return func(yield func(client.Update, error) bool) {
				time.Sleep(10 * time.Second)
				if yield(client.Update{Lost: &client.Lost{}}, nil) {
					<-ctx.Done()
				}
			}
		}}
		begun := time.Now()
		first := time.Duration(-1)
		flows := 0
		for u := range Streams(ctx, []Source{busy, quiet}, Options{Window: time.Second}) {
			flows += len(u.Response.GetFlows())
			if first < 0 && flows > 0 {
				first = time.Since(begun)
				if first != time.Second || told.Load() > held+1 {
					t.Errorf("the first flow came after %s, when %d were told", first, told.Load())
				}
			}
			if u.Lost != nil && u.Node != "quiet" {
				t.Errorf("lost %s", u.Node)
			}
			if flows > 100*held {
				break
			}
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("%d flows took %s; they wait until the quiet node is known to be away", flows, took)
		}
	})
}
