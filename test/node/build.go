// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// RequireKernel skips a test that needs root, or fails it where such tests
// must run.
func RequireKernel(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("needs root, and WEIR_KERNEL_TESTS=1 forbids to skip")
	}
	t.Skip("needs root: makes network namespaces and loads BPF programs")
}

// Build builds commands of this module into a folder of the test.
func Build(t testing.TB, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"build", "-o", dir + "/"}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("go build %v: %w: %s", packages, err, out))
	}
	return dir
}
