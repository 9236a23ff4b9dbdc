// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/client"
	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// places is a world of two pods and one rule.
type places struct{ web, db *policy.Pod }

func (p places) Interface(uint32) (string, *policy.Pod) { return "veth1", p.web }

func (p places) Owner(netip.Addr) flows.Owner {
	return flows.Owner{Identity: flows.PodIdentity, Pod: p.db}
}

func (places) Rule(uint32) *policy.RuleRef {
	return &policy.RuleRef{Policy: policy.ObjectKey{Namespace: "shop", Name: "allow"}}
}

func (places) Set(uint32) []policy.ObjectKey { return nil }

// BenchmarkWatch is the way of an event from the ring's record to readers over
// the Unix socket: names, memory, store, filter, proto, gRPC, and the readers'
// own decoding, all on this machine. The writer keeps within what the slowest
// reader can still catch up with, so ns/op is the pace without loss; a flow
// that a reader missed fails it.
func BenchmarkWatch(b *testing.B) {
	for _, readers := range []int{1, 8} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) { benchmarkWatch(b, readers) })
	}
}

func benchmarkWatch(b *testing.B, readers int) {
	store, err := flows.NewStore(flows.DefaultCapacity)
	if err != nil {
		b.Fatal(err)
	}
	socket, end := serve(b, store)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer end()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	places := make([]atomic.Uint64, readers)
	for i := range readers {
		stream := watch(b, ctx, socket)
		wait.Go(func() {
			for {
				response, err := stream.Recv()
				if err != nil {
					return // the benchmark is over
				}
				if response.GetLoss().GetReader() > 0 {
					b.Errorf("reader %d missed %d", i, response.GetLoss().GetReader())
				}
				places[i].Store(response.GetSequence())
			}
		})
	}
	record := recorder(b)
	slowest := func() uint64 {
		least := places[0].Load()
		for i := range places {
			least = min(least, places[i].Load())
		}
		return least
	}
	event := bpf.WeirEvent{Ifindex: 1, Protocol: 6, Kind: 1, Direction: 1, Verdict: 1, Reason: 1, Rule: 1, Time: 1}
	begun, cpu := time.Now(), cpuTime(b)
	var n uint64
	for b.Loop() {
		n++
		event.LocalPort, event.Local[12] = uint16(n), uint8(n>>16)
		store.Add(record.Event(&event))
		for n%1024 == 0 && n-slowest() > flows.DefaultCapacity/2 {
			time.Sleep(time.Millisecond)
		}
	}
	for deadline := time.Now().Add(time.Minute); slowest() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d read", slowest(), n)
		}
	}
	b.ReportMetric(float64(n)/time.Since(begun).Seconds(), "events/s")
	// On a machine that does other work as well, this is what to compare.
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(n), "cpu-µs/event")
	cancel()
}

// cpuTime of this process, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func recorder(b *testing.B) *flows.Recorder {
	world := places{
		web: &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"}, Labels: map[string]string{"app": "web", "tier": "front"}},
		db:  &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "db"}, Labels: map[string]string{"app": "db", "tier": "back"}},
	}
	enricher, err := flows.NewEnricher(flows.EnricherOptions{Places: world, Rules: world, Clock: flows.SystemClock})
	if err != nil {
		b.Fatal(err)
	}
	return flows.NewRecorder(flows.RecorderOptions{Enricher: enricher})
}

func serve(b *testing.B, store *flows.Store) (socket string, end func()) {
	b.Helper()
	socket = filepath.Join(b.TempDir(), "agent.sock")
	o, a := server.Defaults(), &agent{}
	o.Flows, o.Policies, o.Explainer, o.State = store, a, a, a
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := server.New(o)
	if err != nil {
		b.Fatal(err)
	}
	l, err := server.Listen(socket)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	return socket, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// watch follows from now on; its first response has come.
func watch(b *testing.B, ctx context.Context, socket string) weirv1.Flows_WatchClient {
	b.Helper()
	c, err := client.Dial(ctx, at(socket))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	stream, err := c.Flows.Watch(ctx, &weirv1.WatchRequest{Follow: true})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		b.Fatal(err)
	}
	return stream
}
