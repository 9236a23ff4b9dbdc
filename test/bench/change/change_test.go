// SPDX-License-Identifier: Apache-2.0

package change

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/test/bench/record"
	"github.com/weirnet/weir/test/node"
)

// TestMain: the witnesses are a process of this same binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WitnessCommand {
		if err := Witness(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestChange is the quick form of the benchmark. No time fails it; a packet by
// a way that is shut does.
func TestChange(t *testing.T) {
	node.RequireKernel(t)
	if testing.Short() {
		t.Skip("builds the agent")
	}
	o := Quick()
	o.Bin = node.Build(t, "../../../cmd/weir", "../../../cmd/weir-agent")
	o.Told = func(r record.Change) { t.Logf("%-40s %+v, undisturbed %+v", r.What, r.All, r.Undisturbed) }
	results, notes, err := Measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 6 || len(notes) == 0 {
		t.Fatalf("%d results with notes %q, want 6", len(results), notes)
	}
	for _, r := range results {
		if r.What != record.WakeUp && r.All.Count != o.Rounds {
			t.Errorf("%s: %d rounds, want %d", r.What, r.All.Count, o.Rounds)
		}
		if r.All.P50Ms > r.All.P99Ms || r.All.P99Ms > r.All.MaxMs || r.Undisturbed.Count > r.All.Count {
			t.Errorf("%s: %+v, undisturbed %+v: out of order", r.What, r.All, r.Undisturbed)
		}
	}
	if opening := results[0].All; opening.P50Ms <= 0 {
		t.Errorf("a policy opened the way in no time: %+v", opening)
	}
	if wake := results[5].All; wake.Count < 1000 {
		t.Errorf("witnesses woke %d times, want some thousand", wake.Count)
	}
}

// An end in the middle leaves nothing behind, and says that it is one.
func TestEnd(t *testing.T) {
	node.RequireKernel(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Quick()
	o.Bin = t.TempDir()
	if _, _, err := Measure(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that of the context", err)
	}
	for _, pattern := range []string{"/run/netns/wbch*", filepath.Join(os.TempDir(), "weir-wbch-*")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Options)
	}{
		{"no agent", func(o *Options) { o.Bin = "" }},
		{"nobody to talk to", func(o *Options) { o.Pods = 1 }},
		{"more pods than addresses", func(o *Options) { o.Pods = 60_000 }},
		{"no policy", func(o *Options) { o.Policies = 0 }},
		{"no round", func(o *Options) { o.Rounds = 0 }},
	} {
		o := Quick()
		o.Bin = "anywhere"
		row.change(&o)
		if _, _, err := Measure(t.Context(), o); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
}

func TestUndisturbed(t *testing.T) {
	rounds := []span{{10, 20}, {30, 40}, {50, 60}}
	for _, row := range []struct {
		name string
		late []span
		want []span
	}{
		{"nobody was late", nil, rounds},
		{"between rounds", []span{{21, 29}, {61, 99}}, rounds},
		{"within one", []span{{33, 34}}, []span{{10, 20}, {50, 60}}},
		{"at its beginning", []span{{5, 10}}, []span{{30, 40}, {50, 60}}},
		{"all of one, and the end of another", []span{{29, 41}, {60, 70}}, []span{{10, 20}}},
		{"through everything", []span{{0, 99}}, nil},
	} {
		if got := undisturbed(rounds, row.late); fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestLateRate(t *testing.T) {
	rounds := []span{{0, time.Second}, {2 * time.Second, 3 * time.Second}}
	late := []span{{500 * time.Millisecond, 501 * time.Millisecond}, {1500 * time.Millisecond, 1600 * time.Millisecond}, {1900 * time.Millisecond, 2100 * time.Millisecond}}
	if got := lateRate(rounds, late); got != 1 {
		t.Errorf("%v a second, want two in two seconds", got)
	}
	if got := lateRate(nil, late); got != 0 {
		t.Errorf("%v a second of no time", got)
	}
}

func TestTestimony(t *testing.T) {
	one, other := newTestimony(), newTestimony()
	for range 97 {
		one.note(time.Second, time.Second+95*time.Microsecond)
	}
	one.note(time.Second, time.Second-time.Microsecond) // a clock's rounding
	one.note(2*time.Second, 2*time.Second+tardy)
	other.note(3*time.Second, 3*time.Second+time.Hour)
	one.add(other)
	if len(one.Late) != 1 || one.Late[0] != (span{3 * time.Second, 3*time.Second + time.Hour}) || one.Lost != 0 {
		t.Errorf("late: %v, %d lost; want the hour alone", one.Late, one.Lost)
	}
	hour := time.Hour.Seconds() * 1000
	if got, want := one.distribution(), (record.Distribution{Count: 100, P50Ms: 0.1, P90Ms: 0.1, P99Ms: hour, MaxMs: hour}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := newTestimony().distribution(); got != (record.Distribution{}) {
		t.Errorf("of no wake-up: %+v", got)
	}
	for range tardies {
		one.note(0, time.Second)
	}
	if one.Lost == 0 {
		t.Error("what does not fit is not counted")
	}
}

func TestStolen(t *testing.T) {
	for _, row := range []struct {
		line string
		want time.Duration
		ok   bool
	}{
		{"cpu  10 20 30 40 50 60 70 123 90 100", 1230 * time.Millisecond, true},
		{"cpu  10 20 30 40 50 60 70", 0, false},
		{"cpu  10 20 30 40 50 60 70 much 90 100", 0, false},
		{"", 0, false},
	} {
		got, err := parseStolen(row.line)
		if got != row.want || (err == nil) != row.ok {
			t.Errorf("%q: %v, %v; want %v", row.line, got, err, row.want)
		}
	}
}
