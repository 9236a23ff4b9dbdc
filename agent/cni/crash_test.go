// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The states that a crash between two steps leaves; the next run ends them.
func TestAfterCrash(t *testing.T) {
	entered := strings.Replace(bridgeText, "{\"type\": \"portmap\"}", "{\"type\": \"portmap\"}"+separator+ownEntry, 1)
	derived, err := listOf([]byte(singleText), []byte(ownEntry))
	must(t, err)
	for _, row := range []struct {
		name   string
		files  map[string]string
		binary bool
		chain  string
	}{
		{"binary, no entry", map[string]string{"10-pods.conflist": bridgeText}, true, "bridge portmap weir-cni"},
		{"entry, no binary", map[string]string{"10-pods.conflist": entered}, false, "bridge portmap weir-cni"},
		{"entry, and weir's list for a file that is gone", map[string]string{"10-pods.conflist": entered, DerivedName: string(derived)}, true, "bridge portmap weir-cni"},
		{"weir's list cut short", map[string]string{"10-pods.conf": singleText, DerivedName: "{"}, true, "ptp weir-cni"},
		{"weir's list of an older file", map[string]string{"10-pods.conf": strings.Replace(singleText, "ptp", "macvlan", 1), DerivedName: string(derived)}, true, "macvlan weir-cni"},
	} {
		n := newNode(t, row.files)
		if row.binary {
			must(t, os.WriteFile(filepath.Join(n.options.BinDir, PluginType), []byte("program 0"), 0o600))
		}
		_, err := n.Install()
		must(t, err)
		info, err := os.Stat(filepath.Join(n.options.BinDir, PluginType))
		must(t, err)
		if n.chain() != row.chain || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: chain %q, binary %s; want %q", row.name, n.chain(), info.Mode(), row.chain)
		}
		must(t, n.Remove())
		if left := n.texts(); len(left) != 1 || strings.Contains(n.chain(), PluginType) {
			t.Errorf("%s: after removal: %v", row.name, left)
		}
	}
}

// The last CNI goes: weir's list goes with it.
func TestDerivedGoesWithItsSource(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conf": singleText})
	_, err := n.Install()
	must(t, err)
	must(t, os.Remove(n.conf("10-pods.conf")))
	if _, err := n.Install(); err == nil || len(n.texts()) != 0 {
		t.Errorf("error %v, left %v", err, n.texts())
	}
}

func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to mount a file system read-only")
	}
	n := newNode(t, nil)
	must(t, unix.Mount("tmpfs", n.options.ConfDir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(n.options.ConfDir, 0)) })
	must(t, os.WriteFile(n.conf("10-pods.conflist"), []byte(bridgeText), 0o640))
	must(t, unix.Mount("", n.options.ConfDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := n.Install(); err == nil || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), "must be writable") {
		t.Errorf("error %v, want one that names cause and cure", err)
	}
	if got := n.texts()["10-pods.conflist"]; got != bridgeText {
		t.Errorf("the file is now %s", got)
	}
}

// A list that names weir and cannot be parsed is not touched, and named.
func TestLeaveNamesWhatItCannotParse(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": `{"plugins": [` + ownEntry, "20-b.conflist": bridgeText})
	_, err := n.Install()
	if err == nil {
		t.Error("a broken file was not told")
	}
	must(t, os.WriteFile(filepath.Join(n.options.BinDir, PluginType), []byte("program"), 0o755))
	if err := n.Remove(); err == nil || !strings.Contains(err.Error(), "10-pods.conflist") || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("error %v, want one that names the file and the next step", err)
	}
	if _, err := os.Stat(filepath.Join(n.options.BinDir, PluginType)); err != nil {
		t.Errorf("the binary is gone, and a list still names it: %v", err)
	}
	if n.texts()["20-b.conflist"] != bridgeText {
		t.Errorf("the other list was not left: %v", n.texts())
	}
}
