// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/test/node"
)

// An agent is replaced by a build whose rows and flows have another layout,
// and that by the first again, a few times over, under the traffic of
// TestKilledUnderTraffic. Both tables are new to each of them: what is judged
// meanwhile, is judged by the tables of the agent before.
func TestUpgradeAndDowngradeUnderTraffic(t *testing.T) {
	node.RequireKernel(t)
	if _, err := exec.LookPath("clang-19"); err != nil {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatalf("%v, and WEIR_KERNEL_TESTS=1 forbids to skip: make packages-generate installs it", err)
		}
		t.Skip("needs clang-19 for a build with other layouts: make packages-generate installs it")
	}
	other := buildOther(t)
	s := newStage(t)
	this := s.agent.Bin
	seen := map[string]bool{}
	s.underTraffic(t, 6, func(i int) {
		must(t, s.agent.Replace("manifests/policies.yaml", policies(i+1)))
		must(t, s.agent.Stop())
		s.agent.Bin = []string{other, this}[i%2]
		must(t, s.agent.Start())
		must(t, s.agent.WaitReady(t.Context(), time.Minute))
		for _, pattern := range []string{"tables-*", "flows-*"} {
			found, err := filepath.Glob(filepath.Join(s.agent.Pins, pattern))
			must(t, err)
			if len(found) != 1 {
				t.Errorf("replacement %d: %s is %v, want one: the tables of the agent before are to go", i, pattern, found)
			}
			for _, path := range found {
				name := filepath.Base(path)
				seen[name[strings.LastIndex(name, "-"):]] = true
			}
		}
	})
	if len(seen) != 4 {
		t.Errorf("layouts %v: want two of the tables and two of the flows", seen)
	}
}

// layouts of the other build: shorter rows, longer flows.
var layouts = strings.NewReplacer(
	"ROW_INTERVALS = 14,", "ROW_INTERVALS = 7,",
	"_Static_assert(sizeof(struct row) == 184,", "_Static_assert(sizeof(struct row) == 100,",
	"	__u8 tcp_rx;\n	__u8 pad[2];", "	__u8 tcp_rx;\n	__u8 pad[10];",
	"_Static_assert(sizeof(struct flow) == 64,", "_Static_assert(sizeof(struct flow) == 72,",
)

// buildOther builds weir-agent and weir from a copy of the sources with other
// layouts, into a folder of the test.
func buildOther(t *testing.T) string {
	t.Helper()
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
	types := filepath.Join(dir, "bpf/src/types.h")
	content, err := os.ReadFile(types)
	must(t, err)
	changed := layouts.Replace(string(content))
	for _, part := range []string{"ROW_INTERVALS = 7", "row) == 100", "pad[10]", "flow) == 72"} {
		if !strings.Contains(changed, part) {
			t.Fatalf("%s cannot be given other layouts: %q is not in it", types, part)
		}
	}
	must(t, os.WriteFile(types, []byte(changed), 0o644))
	for _, args := range [][]string{{"generate", "./bpf"}, {"build", "-o", "bin/", "./cmd/weir", "./cmd/weir-agent"}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v of the other build: %v: %s", args, err, out)
		}
	}
	return filepath.Join(dir, "bin")
}
