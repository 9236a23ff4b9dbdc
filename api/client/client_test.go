// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weirnet/weir/api/v1"
)

func quick(socket string) Options {
	o := Defaults()
	o.Socket = socket
	o.ConnectTimeout = time.Second
	o.BackoffMin, o.BackoffMax = 5*time.Millisecond, 40*time.Millisecond
	return o
}

// stale leaves a socket that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDialSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	stale(t, in("stale.sock"))
	if err := os.WriteFile(in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, socket, says string
		notRunning         bool
	}{
		{"absent", in("agent.sock"), "weir-agent is not running: no socket at " + in("agent.sock") + "; start it, or name another socket with --socket", true},
		{"no directory", in("a/agent.sock"), "weir-agent is not running: no socket at " + in("a/agent.sock"), true},
		{"a file on the way", in("file/agent.sock"), "a part of its path is not a directory", true},
		{"stale", in("stale.sock"), "weir-agent is not running: nothing listens at " + in("stale.sock"), true},
		{"a file", in("file"), "weir-agent is not running: nothing listens at " + in("file"), true},
		{"too long", in(strings.Repeat("x", 120)), "longer than 107 bytes", false},
		{"empty", "", "name the agent's Unix socket", false},
	} {
		c, err := Dial(t.Context(), quick(row.socket))
		if err == nil {
			c.Close()
			t.Errorf("%s: no error", row.name)
			continue
		}
		if !strings.Contains(err.Error(), row.says) || errors.Is(err, ErrNotRunning) != row.notRunning {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if err := dialError("/s", syscall.EACCES); !strings.Contains(err.Error(), "permission denied for /s") || !strings.Contains(err.Error(), "root") {
		t.Errorf("permission: %v", err)
	}
	if err := dialError("/s", syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Errorf("another cause is lost: %v", err)
	}
}

func TestOptionsValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := Options{BackoffMin: 2, BackoffMax: 1}.Validate()
	for _, part := range []string{"socket", "connect timeout", "backoff"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
}

// A listener that is not an agent's takes the connection and says nothing.
func TestACallToSomethingElseEndsInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(t.Context(), quick(path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Agent.Status(ctx, &weirv1.StatusRequest{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), path+" did not answer in time") {
		t.Errorf("error %v", err)
	}
	// A watch has no limit of its own: the connection's must end it.
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, err := range c.WatchReconnect(ctx, &weirv1.WatchRequest{Follow: true}) {
		if status.Code(err) != codes.Unavailable {
			t.Errorf("watch: %v", err)
		}
	}
}

func TestCallErrorsArePlain(t *testing.T) {
	c := &Client{options: quick("/run/a.sock")}
	for _, row := range []struct {
		code codes.Code
		says string
	}{
		{codes.NotFound, "no such policy"},
		{codes.InvalidArgument, "no such policy"},
		{codes.Unavailable, "weir-agent at /run/a.sock went away (no such policy); see whether it runs"},
		{codes.DeadlineExceeded, "weir-agent at /run/a.sock did not answer in time"},
		{codes.Unimplemented, "may be older than this command"},
	} {
		err := c.callError(status.Error(row.code, "no such policy"))
		if !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "rpc error") {
			t.Errorf("%s: %v", row.code, err)
		}
		if status.Code(err) != row.code {
			t.Errorf("%s became %s", row.code, status.Code(err))
		}
	}
	if err := c.callError(status.Error(codes.Canceled, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if c.callError(nil) != nil {
		t.Error("nil became an error")
	}
}
