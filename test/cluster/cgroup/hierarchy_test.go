// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestHierarchies(t *testing.T) {
	const mountinfo = `22 1 0:20 / /sys rw shared:2 - sysfs sysfs rw
31 22 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro
32 31 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu
33 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 1 8:1 /cgroup /home/cgroup rw - ext4 /dev/cgroup rw
broken line
`
	want := []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"}
	if got := hierarchies(mountinfo); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What a new group lacks is taken from its parent.
func TestMakeGroup(t *testing.T) {
	parent := t.TempDir()
	for file, content := range map[string]string{"cpuset.cpus": "0-1", "cgroup.controllers": "cpu memory", "cgroup.subtree_control": ""} {
		if err := os.WriteFile(filepath.Join(parent, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again is no error
		if err := makeGroup(parent, Root); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{Root + "/cpuset.cpus": "0-1", "cgroup.subtree_control": "+memory"} {
		if got, err := os.ReadFile(filepath.Join(parent, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q (%v), want %q", file, got, err, want)
		}
	}
}

func TestRemoveTree(t *testing.T) {
	root := filepath.Join(t.TempDir(), Root)
	if err := os.MkdirAll(filepath.Join(root, "n1", "kubepods", "pod1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing
		if err := removeTree(root, time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	// A group that stays busy: a file in a plain folder stands for its process.
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "busy"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(root, time.Now().Add(50*time.Millisecond)); err == nil {
		t.Error("no error for a group that cannot be removed")
	}
}
