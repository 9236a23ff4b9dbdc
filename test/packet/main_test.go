// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a test leaves a goroutine or a file behind. Namespaces,
// programs and maps of a Machine exist through its files alone.
func TestMain(m *testing.M) {
	before := files()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if after := files(); len(after) > len(before) && code == 0 {
		fmt.Fprintf(os.Stderr, "files left open: %v, before: %v\n", after, before)
		code = 1
	}
	os.Exit(code)
}

// files are the open files of the process, without those that the runtime
// keeps for polling, which it opens with the first ring.
func files() []string {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range names {
		target, err := os.Readlink("/proc/self/fd/" + name.Name())
		if err != nil || target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		out = append(out, target)
	}
	return out
}
