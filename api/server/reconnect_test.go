// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/server"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
)

// serveAgain runs a second server at the socket of one that was stopped.
func serveAgain(t *testing.T, socket, runID string, store *flows.Store) {
	t.Helper()
	a := &agent{}
	o := server.Defaults()
	o.RunID, o.Flows, o.Policies, o.Explainer, o.State = runID, store, a, a, a
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("second Run: %v", err)
		}
	})
}

// A reader that loses its agent sees each flow once: the same run goes on
// after the last one, and of a new run it gets what was kept before it came.
func TestReaderOverARestart(t *testing.T) {
	for _, row := range []struct {
		name, runID string
		req         *weirv1.WatchRequest
		meanwhile   int // flows while the reader is away
		want        string
		reader      uint64
	}{
		{"the same run", "run-1", &weirv1.WatchRequest{}, 10, "6-10:5, lost, new run false, 11-25:15", 0},
		{"the same run, a filter", "run-1", &weirv1.WatchRequest{Filter: udpOnly()}, 10, "6-10:3, lost, new run false, 12-24:7", 0},
		{"the same run, too late", "run-1", &weirv1.WatchRequest{}, 2000, "6-10:5, lost, new run false, 987-2015:1029", 976},
		{"another run", "run-2", &weirv1.WatchRequest{Last: 1}, 10, "5-10:6, lost, new run true, 1-15:15", 0},
	} {
		r := start(t)
		add(r.store, 5)
		got, loss := watchRestart(t, r, row.req, func() (store *flows.Store) {
			store = r.store
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if row.runID != "run-1" {
				store, _ = flows.NewStore(flows.MinCapacity)
			}
			add(store, row.meanwhile)
			serveAgain(t, r.socket, row.runID, store)
			return store
		})
		if got != row.want || loss.GetReader() != row.reader {
			t.Errorf("%s: %s; %d missed\nwant %s; %d", row.name, got, loss.GetReader(), row.want, row.reader)
		}
	}
}

// watchRestart follows flows 6 to 10, restarts the agent, and follows on until
// five flows that come after that. It tells the watch in one line.
func watchRestart(t *testing.T, r *running, req *weirv1.WatchRequest, restart func() *flows.Store) (tale string, loss *weirv1.Loss) {
	t.Helper()
	req.Follow = true
	var parts []string
	var list []*weirv1.Flow
	store, restarted, end := r.store, false, uint64(0)
	tell := func(part string) { parts = append(parts, part) }
	for u, err := range r.WatchReconnect(limited(t), req) {
		switch {
		case err != nil:
			t.Fatal(err)
		case u.Lost != nil:
			tell(span(t, list))
			tell("lost")
			list = nil
			continue
		case u.Restored != nil:
			tell(fmt.Sprintf("new run %v", u.Restored.NewRun))
			continue
		}
		list = append(list, u.Response.Flows...)
		if u.Response.Loss != nil {
			loss = u.Response.Loss
		}
		switch {
		case !restarted && u.Response.Sequence == 5:
			add(store, 5)
		case !restarted && u.Response.Sequence == 10:
			store, restarted = restart(), true
		case restarted && end == 0:
			add(store, 5)
			_, end = store.Bounds()
		}
		if end != 0 && u.Response.Sequence == end {
			break
		}
	}
	tell(span(t, list))
	return strings.Join(parts, ", "), loss
}
