// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when the tests leave goroutines, namespaces or pins behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, pattern := range []string{"/run/netns/obs-*", "/sys/fs/bpf/weir-observe-*"} {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			fmt.Fprintf(os.Stderr, "left behind: %s (%v)\n", strings.Join(left, " "), err)
			code = 1
		}
	}
	os.Exit(code)
}
