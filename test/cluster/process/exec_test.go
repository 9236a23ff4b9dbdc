// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const execsLeft = "WEIR_TEST_EXECS_LEFT"

// TestMain is the test, or the process that replaces itself in it.
func TestMain(m *testing.M) {
	left, err := strconv.Atoi(os.Getenv(execsLeft))
	if err != nil {
		os.Exit(m.Run())
	}
	if left == 0 {
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	// The main goroutine holds the first thread here, so the other calls from
	// another: the kernel ends the first before that takes its place.
	runtime.LockOSThread()
	failed := make(chan error)
	go func() {
		failed <- syscall.Exec("/proc/self/exe", os.Args, []string{execsLeft + "=" + strconv.Itoa(left-1)})
	}()
	panic(<-failed)
}

// A process that turns into another program is there all the while, also at
// the moment in which its first thread is a zombie.
func TestRunningWhileItTurnsIntoAnother(t *testing.T) {
	t.Setenv(execsLeft, "300")
	f := Folder(t.TempDir())
	p, err := f.Start(Command{Name: "p", Path: "/proc/self/exe", Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.Release()
		_ = end(p.Record, 0)
	}()
	environment := filepath.Join("/proc", strconv.Itoa(p.PID), "environ")
	last := execsLeft + "=0\x00"
	for deadline := time.Now().Add(30 * time.Second); ; {
		for range 1000 {
			if !p.Running() {
				t.Fatal("taken for one that has ended")
			}
		}
		if now, _ := os.ReadFile(environment); string(now) == last {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still turns into others after 30 s")
		}
	}
}
