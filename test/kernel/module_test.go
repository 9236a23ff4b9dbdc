// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// modules writes a tree of kernel modules, each with its lines of .modinfo.
func modules(t *testing.T, builtin string, files map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("modules.builtin", []byte(builtin))
	for name, lines := range files {
		write("kernel/"+name, object(lines...))
	}
	return dir
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	dir := modules(t, "kernel/net/8021q/stp.ko\n", map[string][]string{
		"net/bridge/bridge.ko":       {"license=GPL", "depends=stp,llc"},
		"net/bridge/br_netfilter.ko": {"depends=bridge", "softdep=pre: nf-late post: nf-after"},
		"net/llc/llc.ko":             {"depends="},
		"net/nf-late.ko":             {"depends="},
		"net/nf-after.ko":            {"depends="},
		"net/unwanted.ko":            {"depends="},
	})
	tree, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	loaded, absent, err := tree.collect([]string{"br_netfilter", "bridge", "netkit", "stp"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range loaded {
		names = append(names, m.Name)
	}
	if want := []string{"llc", "bridge", "nf_late", "br_netfilter"}; !slices.Equal(names, want) {
		t.Errorf("load %v, want %v: stp is built in, what stands behind post is not needed", names, want)
	}
	if want := []string{"netkit"}; !slices.Equal(absent, want) {
		t.Errorf("absent %v, want %v", absent, want)
	}
}

func TestModuleThatIsNoModule(t *testing.T) {
	for name, content := range map[string][]byte{"text": []byte("not an object"), "empty": nil} {
		dir := modules(t, "", nil)
		if err := os.MkdirAll(filepath.Join(dir, "kernel"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "kernel", "bad.ko"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		tree, err := openTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tree.collect([]string{"bad"}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestModuleName(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/net/veth.ko": "veth", "a/nf-log.ko.xz": "nf_log", "a/b.ko.zst": "b", "c.ko.gz": "c",
		"modules.order": "", "x.kobold": "", "README": "",
	} {
		if got, ok := moduleName(path); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", path, got, ok, want)
		}
	}
}

func TestReadCompressedModule(t *testing.T) {
	want := object("depends=x")
	for suffix, program := range map[string]string{"": "", ".gz": "gzip", ".xz": "xz", ".zst": "zstd"} {
		path := filepath.Join(t.TempDir(), "m.ko")
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		if program != "" {
			if _, err := exec.LookPath(program); err != nil {
				t.Logf("%s is not installed: %s is not tested", program, suffix)
				continue
			}
			if out, err := exec.Command(program, "-q", "-k", path).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", program, err, out)
			}
		}
		got, err := readModule(path + suffix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %d bytes, %v, want %d", suffix, len(got), err, len(want))
		}
	}
}
