// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bridgeText = "{\n  \"cniVersion\": \"1.0.0\", \"name\": \"pods\", \"x\": 1e3,\n  \"plugins\": [\n    {\"type\": \"bridge\", \"ipam\": {\"type\": \"host-local\"}},\n    {\"type\": \"portmap\"}\n  ],\n  \"other\": [1, {\"plugins\": []}]\n}\n"
	singleText = `{"cniVersion": "0.4.0", "name": "pods", "type": "ptp", "ipam": {"type": "host-local"}}`
	ownEntry   = `{"type":"weir-cni","socket":"/run/weir/agent.sock","failure":"closed","timeout":"10s"}`
)

// node is a folder of configurations and one of plugins.
type node struct {
	t *testing.T
	*Installer
}

func newNode(t *testing.T, files map[string]string) node {
	t.Helper()
	dir := t.TempDir()
	o := Options{
		ConfDir: filepath.Join(dir, "net.d"), BinDir: filepath.Join(dir, "bin"), Binary: filepath.Join(dir, "built"),
		Socket: "/run/weir/agent.sock", Failure: "closed", Timeout: 10 * time.Second, Now: time.Now,
	}
	must(t, os.MkdirAll(o.ConfDir, 0o755))
	must(t, os.MkdirAll(o.BinDir, 0o755))
	must(t, os.WriteFile(o.Binary, []byte("program 1"), 0o755))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(o.ConfDir, name), []byte(text), 0o640))
	}
	i, err := NewInstaller(o, slog.New(slog.DiscardHandler))
	must(t, err)
	return node{t, i}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (n node) conf(name string) string { return filepath.Join(n.options.ConfDir, name) }

// texts of the folder, by name.
func (n node) texts() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(n.options.ConfDir)
	must(n.t, err)
	for _, e := range entries {
		raw, err := os.ReadFile(n.conf(e.Name()))
		must(n.t, err)
		out[e.Name()] = string(raw)
	}
	return out
}

// chain is what the runtime would run: the types of the first configuration
// by name, read with the runtime's own library.
func (n node) chain() string {
	n.t.Helper()
	files, err := libcni.ConfFiles(n.options.ConfDir, []string{".conf", ".conflist", ".json"})
	must(n.t, err)
	slices.Sort(files)
	for _, file := range files {
		conf, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			//lint:ignore SA1019 runtimes still read single files so
			single, err := libcni.ConfFromFile(file)
			if err != nil || single.Network.Type == "" {
				continue
			}
			return single.Network.Type
		}
		var types []string
		for _, p := range conf.Plugins {
			types = append(types, p.Network.Type)
		}
		return strings.Join(types, " ")
	}
	return ""
}

func TestInstallAndLeave(t *testing.T) {
	bare := strings.ReplaceAll(bridgeText, ",\n    {\"type\": \"portmap\"}", "")
	for _, row := range []struct {
		name  string
		files map[string]string
		file  string // that has the entry
		chain string // that the runtime runs then
		fault string // part of the error
	}{
		{"a list", map[string]string{"10-pods.conflist": bridgeText}, "10-pods.conflist", "bridge portmap weir-cni", ""},
		{"a list of one", map[string]string{"10-pods.conflist": bare}, "10-pods.conflist", "bridge weir-cni", ""},
		{"the first by name", map[string]string{"20-b.conflist": bridgeText, "10-a.conflist": bare}, "10-a.conflist", "bridge weir-cni", ""},
		{"a single plugin", map[string]string{"10-pods.conf": singleText}, "10-pods.conf", "ptp weir-cni", ""},
		{"a single plugin in .json", map[string]string{"10-pods.json": singleText}, "10-pods.json", "ptp weir-cni", ""},
		{"a single plugin before a list", map[string]string{"10-pods.conf": singleText, "10-pods.conflist": bridgeText}, "10-pods.conf", "ptp weir-cni", ""},
		{"a list before a single plugin", map[string]string{"05-pods.conflist": bridgeText, "10-pods.conf": singleText}, "05-pods.conflist", "bridge portmap weir-cni", ""},
		{"other files", map[string]string{"05-x.conflist.bak": "x", "readme": "x", "10-pods.conflist": bridgeText}, "10-pods.conflist", "bridge portmap weir-cni", ""},
		{"no file", nil, "", "", "no usable CNI configuration"},
		{"broken alone", map[string]string{"10-pods.conflist": "{"}, "", "", "10-pods.conflist: "},
		{"broken first", map[string]string{"10-a.conflist": "{", "20-b.conflist": bridgeText}, "20-b.conflist", "bridge portmap weir-cni", "10-a.conflist: "},
		{"empty first", map[string]string{"10-a.conflist": "", "20-b.conflist": bridgeText}, "20-b.conflist", "bridge portmap weir-cni", "10-a.conflist: "},
		{"text behind the list", map[string]string{"10-a.conflist": bridgeText + "}"}, "", "", "10-a.conflist: "},
		{"plugins twice", map[string]string{"10-a.conflist": strings.Replace(bridgeText, `"x": 1e3`, `"plugins": [{"type":"ptp"}]`, 1)}, "", "bridge portmap", "twice"},
		{"a plugin without type", map[string]string{"10-a.conflist": strings.Replace(bridgeText, `"type": "portmap"`, `"kind": "portmap"`, 1)}, "", "", "10-a.conflist: "},
		{"a list in .conf", map[string]string{"10-a.conf": bridgeText}, "", "bridge portmap", "10-a.conf: "},
		{"too old to chain", map[string]string{"10-a.conflist": strings.Replace(bridgeText, "1.0.0", "0.2.0", 1), "20-b.conflist": bridgeText}, "", "bridge portmap", `cniVersion is "0.2.0"`},
		{"without version", map[string]string{"10-a.conf": strings.Replace(singleText, "cniVersion", "x", 1)}, "", "ptp", `cniVersion is ""`},
		{"newer than known", map[string]string{"10-a.conflist": strings.Replace(bridgeText, "1.0.0", "9.0.0", 1)}, "", "bridge portmap", `cniVersion is "9.0.0"`},
		{"sorts before weir's list", map[string]string{"00-a.conf": singleText}, "", "ptp", "rename it"},
		{"only weir in it", map[string]string{"10-a.conflist": strings.Replace(bare, `"bridge"`, `"weir-cni"`, 1)}, "", "weir-cni", "no plugin that makes an interface"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, row.files)
			for range 2 { // the second changes nothing
				file, err := n.Install()
				if file != row.file || n.chain() != row.chain {
					t.Errorf("entered in %q, chain %q; want %q, %q", file, n.chain(), row.file, row.chain)
				}
				if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
					t.Errorf("error %v, want one with %q", err, row.fault)
				}
			}
			if row.name == "only weir in it" {
				return // taken out, the list is another than before
			}
			must(t, n.Remove())
			if got := n.texts(); !equal(got, row.files) {
				t.Errorf("after removal:\n%v\nwant what was there before:\n%v", got, row.files)
			}
			if _, err := os.Stat(filepath.Join(n.options.BinDir, PluginType)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the binary is still there: %v", err)
			}
		})
	}
}

func equal(a, b map[string]string) bool {
	return len(a) == len(b) && fmt.Sprint(a) == fmt.Sprint(b)
}

// Entries that somebody moved, doubled or changed.
func TestRepair(t *testing.T) {
	const bridge, portmap = `{"type":"bridge"}`, `{"type":"portmap"}`
	list := func(plugins ...string) string {
		return `{"cniVersion":"1.0.0","name":"pods","plugins":[` + strings.Join(plugins, " ,\t") + `]}`
	}
	old := strings.Replace(ownEntry, "closed", "open", 1)
	for _, row := range []struct{ name, text, chain string }{
		{"other options", list(bridge, old), "bridge weir-cni"},
		{"in the middle", list(bridge, ownEntry, portmap), "bridge weir-cni portmap"},
		{"first", list(ownEntry, bridge), "bridge weir-cni"},
		{"twice", list(bridge, ownEntry, ownEntry), "bridge weir-cni"},
		{"first and twice", list(ownEntry, ownEntry, bridge, ownEntry), "bridge weir-cni"},
	} {
		n := newNode(t, map[string]string{"10-pods.conflist": row.text})
		_, err := n.Install()
		must(t, err)
		text := n.texts()["10-pods.conflist"]
		if n.chain() != row.chain || strings.Count(text, `"closed"`) != 1 {
			t.Errorf("%s: chain %q, want %q: %s", row.name, n.chain(), row.chain, text)
		}
		must(t, n.Leave())
		if text := n.texts()["10-pods.conflist"]; strings.Contains(text, PluginType) || !strings.HasPrefix(n.chain(), "bridge") {
			t.Errorf("%s: after leaving: %s", row.name, text)
		}
	}
}

func TestModeAndLinkStay(t *testing.T) {
	n := newNode(t, nil)
	elsewhere := filepath.Join(t.TempDir(), "pods.json")
	must(t, os.WriteFile(elsewhere, []byte(bridgeText), 0o604))
	must(t, os.Symlink(elsewhere, n.conf("10-pods.conflist")))
	_, err := n.Install()
	must(t, err)
	info, err := os.Stat(elsewhere)
	must(t, err)
	raw, err := os.ReadFile(elsewhere)
	must(t, err)
	if link, err := os.Readlink(n.conf("10-pods.conflist")); err != nil || link != elsewhere || info.Mode().Perm() != 0o604 || !bytes.Contains(raw, []byte(PluginType)) {
		t.Errorf("link %q (%v), mode %s, text %s", link, err, info.Mode(), raw)
	}

	must(t, os.Rename(elsewhere, elsewhere+".moved"))
	if _, err := n.Install(); err == nil || !strings.Contains(err.Error(), "is a link to "+elsewhere) {
		t.Errorf("a link out of what can be seen: %v", err)
	}
}

func TestBinary(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeText})
	_, err := n.Install()
	must(t, err)
	path := filepath.Join(n.options.BinDir, PluginType)
	first, err := os.Stat(path)
	must(t, err)
	_, err = n.Install()
	must(t, err)
	if again, err := os.Stat(path); err != nil || !os.SameFile(first, again) || again.Mode().Perm() != 0o755 {
		t.Errorf("the same binary was copied again, or its mode is wrong: %v %v", again.Mode(), err)
	}
	must(t, os.WriteFile(n.options.Binary, []byte("program 2"), 0o755))
	_, err = n.Install()
	must(t, err)
	if raw, _ := os.ReadFile(path); string(raw) != "program 2" {
		t.Errorf("after an upgrade: %q", raw)
	}
	must(t, os.Remove(n.options.Binary))
	must(t, n.Leave())
	if _, err := n.Install(); err == nil || n.chain() != "bridge portmap" {
		t.Errorf("no binary to copy, but error %v and chain %q", err, n.chain())
	}
}

func TestFolderThatIsNotThere(t *testing.T) {
	n := newNode(t, nil)
	must(t, os.Remove(n.options.ConfDir))
	if _, err := n.Install(); err == nil || !strings.Contains(err.Error(), n.options.ConfDir) {
		t.Errorf("install: %v, want an error that names the folder", err)
	}
	must(t, n.Remove())
}

// What a writer that died has left is no configuration, and goes.
func TestTemporaryFiles(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeText, ".weir-cni-1.tmp": "dead", ".weir-cni-2.tmp": "of a live writer"})
	old := time.Now().Add(-2 * tempAge)
	must(t, os.Chtimes(n.conf(".weir-cni-1.tmp"), old, old))
	_, err := n.Install()
	must(t, err)
	must(t, n.Leave())
	if got := n.texts(); got[".weir-cni-1.tmp"] != "" || got[".weir-cni-2.tmp"] == "" || got["10-pods.conflist"] != bridgeText {
		t.Errorf("left: %v", got)
	}
}

func TestRunInstallsAgain(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeText})
	ctx, cancel := context.WithCancel(t.Context())
	type outcome struct {
		file string
		err  error
	}
	told := make(chan outcome)
	done := make(chan error)
	go func() {
		done <- n.Run(ctx, func(file string, err error) {
			select {
			case told <- outcome{file, err}:
			case <-ctx.Done():
			}
		})
	}()
	await := func(what, file string, ok bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case o := <-told:
				if o.file == file && (o.err == nil) == ok {
					return
				}
			case <-deadline:
				t.Fatalf("%s: not told within 20 s", what)
			}
		}
	}
	await("at the start", "10-pods.conflist", true)
	must(t, os.WriteFile(n.conf("10-pods.conflist"), []byte("{"), 0o640))
	await("half a file", "", false)
	must(t, os.WriteFile(n.conf("10-pods.conflist"), []byte(bridgeText), 0o640))
	await("the CNI wrote it anew", "10-pods.conflist", true)
	must(t, os.WriteFile(n.conf("new"), []byte(singleText), 0o640))
	must(t, os.Rename(n.conf("new"), n.conf("05-first.conf")))
	await("another CNI comes first", "05-first.conf", true)
	if n.chain() != "ptp weir-cni" {
		t.Errorf("chain %q", n.chain())
	}
	must(t, os.Remove(n.conf("05-first.conf")))
	await("and goes", "10-pods.conflist", true)
	if n.chain() != "bridge portmap weir-cni" {
		t.Errorf("chain %q", n.chain())
	}
	cancel()
	must(t, <-done)
	if n.chain() != "bridge portmap weir-cni" {
		t.Errorf("chain %q after the end of the agent, want it unchanged", n.chain())
	}
}
