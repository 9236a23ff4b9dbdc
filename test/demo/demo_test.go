// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/test/node"
)

// The demo is a promise of the README, so it is a test too.
func TestDemo(t *testing.T) {
	node.RequireKernel(t)
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent", ".")
	t.Run("whole", func(t *testing.T) {
		before := leftovers(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		out, err := command(ctx, bin).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "were as expected") {
			t.Errorf("%v\n%s", err, out)
		}
		compare(t, before)
	})
	t.Run("interrupted", func(t *testing.T) {
		before := leftovers(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := command(ctx, bin)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out := collect(pipe)
		if _, ok := out.await(ctx, 0, time.Minute, "ALLOWED"); !ok {
			t.Error("the demo shows nothing")
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("exit code 0 after an interrupt")
		} else if !strings.Contains(log.String(), "interrupted") {
			t.Errorf("%v\n%s", err, log.String())
		}
		compare(t, before)
	})
}

func command(ctx context.Context, bin string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "demo"))
	cmd.Env = append(os.Environ(), "WEIR_BIN="+bin, "KEEP=")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// leftovers are the namespaces and pins that the demo may leave.
func leftovers(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"/run/netns/demo-*", "/sys/fs/bpf/weir-demo-*", filepath.Join(os.TempDir(), "weir-demo-*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, found...)
	}
	return list
}

func compare(t *testing.T, before []string) {
	t.Helper()
	if after := leftovers(t); len(after) > len(before) {
		t.Errorf("left behind: %v, before: %v", after, before)
	}
}
