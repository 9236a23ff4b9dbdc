// SPDX-License-Identifier: Apache-2.0

package variant

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Compiler is what builds the programs, beside Go.
const Compiler = "clang-19"

// Patch replaces a part of a file that stands there once.
type Patch struct{ File, From, To string }

// In is the patch of a file, named from the module's root.
func In(file, from, to string) Patch { return Patch{file, from, to} }

// Layouts makes an agent whose maps the agent of these sources cannot take
// over: shorter rows, longer flows.
func Layouts() []Patch {
	return []Patch{
		{"bpf/src/types.h", "ROW_INTERVALS = 14,", "ROW_INTERVALS = 7,"},
		{"bpf/src/types.h", "_Static_assert(sizeof(struct row) == 184,", "_Static_assert(sizeof(struct row) == 100,"},
		{"bpf/src/types.h", "struct flow {\n", "struct flow {\n\t__u64 more;\n"},
		{"bpf/src/types.h", "_Static_assert(sizeof(struct flow) == 64,", "_Static_assert(sizeof(struct flow) == 72,"},
	}
}

// Build copies the sources of the module at root into dir, which is to be
// empty, changes the copy, and builds weir-agent, weir and weir-cni into the
// folder that it returns.
func Build(root, dir string, patches []Patch) (bin string, err error) {
	if _, err := exec.LookPath(Compiler); err != nil {
		return "", fmt.Errorf("build other programs: %w; make packages-generate installs it", err)
	}
	for _, folder := range []string{"bpf", "agent", "policy", "flows", "api", "cmd"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			return "", err
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return "", err
		}
	}
	for _, p := range patches {
		if err := p.apply(dir); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"generate", "./bpf"}, {"build", "-buildvcs=false", "-o", "bin/", "./cmd/..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %v of the changed sources: %w: %s", args, err, out)
		}
	}
	return filepath.Join(dir, "bin"), nil
}

func (p Patch) apply(dir string) error {
	path := filepath.Join(dir, p.File)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(content), p.From); n != 1 {
		return fmt.Errorf("%s holds %q %d times, not once: the patch no longer fits", p.File, p.From, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(content), p.From, p.To, 1)), 0o644)
}
