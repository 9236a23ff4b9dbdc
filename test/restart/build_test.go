// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// patch replaces a part of a file that stands there once.
type patch struct{ file, from, to string }

// buildPatched builds weir-agent and weir from a copy of the sources with
// patches, into a folder of the test.
func buildPatched(t *testing.T, patches []patch) string {
	t.Helper()
	if _, err := exec.LookPath("clang-19"); err != nil {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatalf("%v, and WEIR_KERNEL_TESTS=1 forbids to skip: make packages-generate installs it", err)
		}
		t.Skip("needs clang-19 to build other programs: make packages-generate installs it")
	}
	const root = "../.."
	dir := t.TempDir()
	for _, folder := range []string{"bpf", "agent", "policy", "flows", "api", "cmd"} {
		must(t, os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))))
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, file), content, 0o644))
	}
	for _, p := range patches {
		path := filepath.Join(dir, p.file)
		content, err := os.ReadFile(path)
		must(t, err)
		if n := strings.Count(string(content), p.from); n != 1 {
			t.Fatalf("%s holds %q %d times, not once: the patch of this test no longer fits", p.file, p.from, n)
		}
		must(t, os.WriteFile(path, []byte(strings.Replace(string(content), p.from, p.to, 1)), 0o644))
	}
	for _, args := range [][]string{{"generate", "./bpf"}, {"build", "-o", "bin/", "./cmd/weir", "./cmd/weir-agent"}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v of the patched sources: %v: %s", args, err, out)
		}
	}
	return filepath.Join(dir, "bin")
}
