// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weirnet/weir/test/kernel/plan"
)

// packages have tests that need a kernel, in the order in which they are run:
// what fails in the first makes the later ones fail too.
func packages() []string {
	return []string{"test/kernel/probe", "bpf", "test/packet", "agent/datapath", "agent/endpoint", "test/netns", "test/scenario"}
}

const guestInit = "test/kernel/guest"

// testBinary is a static program for the guest.
type testBinary struct {
	pkg  string // folder in the module
	path string // on this machine
}

// hasTests tells whether a package of the list is there and has tests; parts
// of the list may not exist yet.
func hasTests(root, pkg string) bool {
	found, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	return err == nil && len(found) > 0
}

// build makes the guest's init and one test binary for each package. The guest
// has no C library.
func build(ctx context.Context, root, dir string, pkgs []string) (init string, tests []testBinary, err error) {
	init = filepath.Join(dir, "init")
	if err := goCommand(ctx, root, "build", "-o", init, "./"+guestInit); err != nil {
		return "", nil, err
	}
	for _, pkg := range pkgs {
		b := testBinary{pkg, filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".test")}
		if err := goCommand(ctx, root, "test", "-c", "-o", b.path, "./"+pkg); err != nil {
			return "", nil, err
		}
		tests = append(tests, b)
	}
	return init, tests, nil
}

func goCommand(ctx context.Context, root, verb string, arguments ...string) error {
	command := exec.CommandContext(ctx, "go", append([]string{verb, "-trimpath", "-ldflags=-s -w"}, arguments...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w\n%s", verb, strings.Join(arguments, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// module is where the packages' folders stand in the guest, as in the source.
const module = "module"

// writeInitramfs packs init, modules, tests and the files that they read.
func writeInitramfs(path, root, init string, tests []testBinary, p plan.Plan, modules []Module) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := newCpio(file)
	archive.device("dev/console", 5, 1)
	archive.directory("root")
	content, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	archive.file("init", content)
	for _, m := range modules {
		archive.file(moduleFile(m.Name), m.Content)
	}
	for _, b := range tests {
		if content, err = os.ReadFile(b.path); err != nil {
			return err
		}
		archive.file(testFile(b.pkg), content)
		archive.directory(module + "/" + b.pkg)
		for _, folder := range []string{"testdata", "corpus"} {
			if err := writeFolder(archive, root, filepath.Join(b.pkg, folder)); err != nil {
				return err
			}
		}
	}
	if content, err = encode(p); err != nil {
		return err
	}
	archive.file(strings.TrimPrefix(plan.Path, "/"), content)
	if err := archive.close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Close()
}

// writeFolder packs what tests read, if it is there.
func writeFolder(archive *cpio, root, folder string) error {
	return filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		archive.file(module+"/"+filepath.ToSlash(relative), content)
		return err
	})
}

func moduleFile(name string) string { return "modules/" + name + ".ko" }

func testFile(pkg string) string { return "tests/" + strings.ReplaceAll(pkg, "/", "-") }
