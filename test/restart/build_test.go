// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"os"
	"os/exec"
	"testing"

	"github.com/weirnet/weir/test/variant"
)

// buildPatched builds weir from a copy of the sources with patches, into a
// folder of the test.
func buildPatched(t *testing.T, patches []variant.Patch) string {
	t.Helper()
	if _, err := exec.LookPath(variant.Compiler); err != nil {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatalf("%v, and WEIR_KERNEL_TESTS=1 forbids to skip: make packages-generate installs it", err)
		}
		t.Skip("needs clang-19 to build other programs: make packages-generate installs it")
	}
	bin, err := variant.Build("../..", t.TempDir(), patches)
	must(t, err)
	return bin
}
