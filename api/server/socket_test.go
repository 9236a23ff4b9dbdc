// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestListenIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "agent.sock")
	// An umask that takes nothing away: the mode is the listener's own work.
	old := syscall.Umask(0)
	l, err := Listen(path)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %s", info.Mode())
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	link := filepath.Join(dir, "link")
	live := filepath.Join(dir, "live.sock")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, row := range []struct{ name, path, says string }{
		{"live server", live, "in use by a running server; end that agent first"},
		{"file", file, "a file that is not a socket"},
		{"directory", dir, "a file that is not a socket"},
		{"symbolic link", link, "a file that is not a socket"},
		{"long path", filepath.Join(dir, strings.Repeat("x", 108)), "a Unix socket takes 1 to 107"},
		{"no path", "", "a Unix socket takes 1 to 107"},
		{"no directory", filepath.Join(dir, "a", "b", "agent.sock"), "make its directory"},
		{"a file for a directory", filepath.Join(file, "agent.sock"), "not a directory"},
	} {
		other, err := Listen(row.path)
		if err == nil {
			other.Close()
			t.Errorf("%s: no error", row.name)
			continue
		}
		if !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), row.path) {
			t.Errorf("%s: %v", row.name, err)
		}
		if errors.Is(err, ErrSocketInUse) != (row.path == live) {
			t.Errorf("%s: in use? %v", row.name, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	conn, err := net.Dial("unix", live)
	if err != nil {
		t.Fatalf("the live server has lost its socket: %v", err)
	}
	conn.Close()
}

func TestCloseLeavesTheSocketOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	// Kept, so that the second socket cannot get the inode of the first.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first took the second's socket away: %v", err)
	}
	conn.Close()
}
