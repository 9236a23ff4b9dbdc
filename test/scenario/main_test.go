// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a test leaves a goroutine, a namespace or a pin behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, pattern := range []string{"/run/netns/sc[rb]%d-*", "/sys/fs/bpf/scenario-sc[rb]%d"} {
		left, err := filepath.Glob(fmt.Sprintf(pattern, os.Getpid()%100000))
		if (err != nil || len(left) > 0) && code == 0 {
			fmt.Fprintln(os.Stderr, "left behind:", left, err)
			code = 1
		}
	}
	os.Exit(code)
}
