// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weirnet/weir/test/cluster/image"
)

const kubernetesModule = "k8s.io/kubernetes"

// Build is a folder of finished programs and images.
type Build string

// Kubernetes is the program with all parts of Kubernetes.
func (b Build) Kubernetes() string { return filepath.Join(string(b), "weir-kubernetes") }

// Images are archives for containerd.
func (b Build) Images() []string {
	return []string{filepath.Join(string(b), "pause.tar"), filepath.Join(string(b), "agnhost.tar")}
}

// Ensure that the module at source is built, and say where.
func Ensure(ctx context.Context, source, cache string, progress io.Writer) (Build, error) {
	version, err := output(ctx, source, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	key, err := Key(os.DirFS(source), version)
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, key)
	if _, err := os.Stat(final); err == nil {
		return Build(final), nil
	}
	fmt.Fprintf(progress, "building Kubernetes and test images into %s; minutes, if the Go build cache is cold\n", final)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	partial, err := os.MkdirTemp(cache, key+".partial-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(partial)
	if err := fill(ctx, source, partial, progress); err != nil {
		return "", err
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return "", err
	}
	// Another build of the same may have been faster; then its result is as good.
	if err := os.Rename(partial, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return Build(final), nil
}

func fill(ctx context.Context, source, dir string, progress io.Writer) error {
	version, err := output(ctx, source, "list", "-m", "-f", "{{.Version}}", kubernetesModule)
	if err != nil {
		return err
	}
	// The API server tells its version, which clients and suites compare.
	stamp := "-s -w"
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		stamp += fmt.Sprintf(" -X %s.gitVersion=%s", pkg, version)
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", stamp, "-o", dir+"/", "./cmd/weir-kubernetes", "./cmd/agnhost", "./cmd/pause")
	build.Dir, build.Stdout, build.Stderr = source, progress, progress
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w", source, err)
	}
	// The names and tags are those that Kubernetes of this version asks for.
	for _, i := range []struct{ program, tag string }{
		{"pause", "registry.k8s.io/pause:3.10.1"},
		{"agnhost", "registry.k8s.io/e2e-test-images/agnhost:2.59"},
	} {
		program := filepath.Join(dir, i.program)
		err := image.Write(program+".tar", image.Description{
			Tag:        i.tag,
			Entrypoint: []string{"/" + i.program},
			Files:      []image.File{{Source: program, Path: "/" + i.program}},
		})
		if err != nil {
			return fmt.Errorf("image %s: %w", i.tag, err)
		}
	}
	return nil
}

func output(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	var problem bytes.Buffer
	command.Stderr = &problem
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s in %s: %w: %s", strings.Join(args, " "), dir, err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}
