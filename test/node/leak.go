// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain is the TestMain of packages with nodes: it fails when the tests
// leave goroutines behind, or a path that one of the patterns matches, as of
// network namespaces and pins.
func VerifyMain(m *testing.M, patterns ...string) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, pattern := range patterns {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			fmt.Fprintf(os.Stderr, "left behind: %s (%v)\n", strings.Join(left, " "), err)
			code = 1
		}
	}
	os.Exit(code)
}
