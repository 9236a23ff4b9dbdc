// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStart(t *testing.T) {
	tail := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	rows := []struct {
		line  string
		start uint64
		fails bool
	}{
		{"12 (sleep) S" + tail, 4711, false},
		{"12 (a) R 1 (b) S" + tail, 4711, false}, // the name holds a parenthesis
		{"12 (a b c) Z" + tail, 4711, false},
		{"", 0, true},
		{"12 (sleep) S 1 2", 0, true},
		{"12 sleep S" + tail, 0, true},
	}
	for _, r := range rows {
		start, err := parseStart(r.line)
		if (err != nil) != r.fails || !r.fails && start != r.start {
			t.Errorf("%q: %d, %v; want %d, error %v", r.line, start, err, r.start, r.fails)
		}
	}
}

func start(t *testing.T, f Folder, name string, command ...string) *Process {
	t.Helper()
	p, err := f.Start(Command{Name: name, Path: command[0], Args: command[1:], Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Release() // a second time, where the test has released it
		_ = end(p.Record, 0)
	})
	return p
}

// A process waits for its release, and its end is seen.
func TestReleaseLetsGo(t *testing.T) {
	f := Folder(t.TempDir())
	p := start(t, f, "cat", "/bin/cat")
	found, err := f.Get("cat")
	if err != nil || found != p.Record || !found.Running() {
		t.Fatalf("recorded %+v (%v), started %+v", found, err, p.Record)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); found.Running(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("released, and still there")
		}
	}
}

func TestStop(t *testing.T) {
	rows := []struct {
		name    string
		command []string
	}{
		{"obeys", []string{"/bin/sleep", "60"}},
		{"ignores SIGTERM", []string{"/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"}},
		{"has ended", []string{"/bin/true"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			f := Folder(t.TempDir())
			p := start(t, f, "p", r.command...)
			if err := f.Stop(p.Record, 300*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if p.Running() {
				t.Error("still there")
			}
			if _, err := f.Get("p"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("record: %v, want none", err)
			}
		})
	}
}

// A record whose process id belongs to another process now ends nothing.
func TestStopSparesAnotherOwnerOfTheID(t *testing.T) {
	f := Folder(t.TempDir())
	p := start(t, f, "p", "/bin/sleep", "60")
	stale := p.Record
	stale.Start--
	if stale.Running() {
		t.Error("a record with another start time is taken for the process")
	}
	if err := end(stale, 0); err != nil {
		t.Fatal(err)
	}
	if !p.Running() {
		t.Error("the other owner of the process id was ended")
	}
}

func TestAllNamesUnreadableRecords(t *testing.T) {
	f := Folder(t.TempDir())
	if err := f.put(Record{Name: "good", PID: unix.Getpid()}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path("bad"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := f.All()
	if len(list) != 1 || list[0].Name != "good" || err == nil {
		t.Errorf("%v, %v; want the good record and an error", list, err)
	}
}
