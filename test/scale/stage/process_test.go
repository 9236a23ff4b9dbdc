// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	self := Process(os.Getpid())
	before, err := self.CPU()
	if err != nil {
		t.Fatal(err)
	}
	burnt := 0
	for begun := time.Now(); time.Since(begun) < 10*time.Second; burnt++ {
		if after, err := self.CPU(); err != nil || after-before >= 0.05 {
			break
		}
	}
	if after, err := self.CPU(); err != nil || after-before < 0.05 || after-before > 10 {
		t.Errorf("CPU went from %v to %v s (%v) in %d rounds", before, after, err, burnt)
	}
	now, peak, err := self.Resident()
	if err != nil || now < 1<<20 || peak < now/2 || peak > 1<<34 {
		t.Errorf("resident %d, peak %d, %v", now, peak, err)
	}
}

func TestProcessThatEnded(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	deadline := time.Now().Add(5 * time.Second)
	for !zombie(pid) {
		if time.Now().After(deadline) {
			t.Fatal("a process that ended and was not waited for is no zombie")
		}
		time.Sleep(time.Millisecond)
	}
	if _, _, err := Process(pid).Resident(); err == nil {
		t.Error("a process that has ended has resident memory")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := Process(pid).CPU(); err == nil {
		t.Error("a process that is gone has used CPU")
	}
}
