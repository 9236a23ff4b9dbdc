// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := Description{Tag: "weir.test/program:1", Entrypoint: []string{"/bin/p"}, Files: []File{{program, "/bin/p"}, {program, "/bin/deep/q"}}}
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(dir, "image.tar")
		if err := Write(path, d); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files make two different images")
	}

	tag, err := name.NewTag(d.Tag)
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(filepath.Join(dir, "image.tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil || !slices.Equal(config.Config.Entrypoint, d.Entrypoint) || config.OS != "linux" {
		t.Errorf("configuration %+v, %v", config, err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	want := []string{"tmp/ 1777", "etc/ 755", "etc/passwd 644", "etc/group 644", "bin/ 755", "bin/p 755", "bin/deep/ 755", "bin/deep/q 755"}
	if got := list(t, content); !slices.Equal(got, want) {
		t.Errorf("layer holds %v, want %v", got, want)
	}
}

func list(t *testing.T, content io.Reader) []string {
	t.Helper()
	var entries []string
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, fmt.Sprintf("%s %o", header.Name, header.Mode))
	}
}

func TestWriteErrors(t *testing.T) {
	rows := []struct {
		name, want string
		d          Description
	}{
		{"no tag", "tag", Description{}},
		{"no such file", "no such file", Description{Tag: "a/b:1", Files: []File{{"/nonexistent/file", "/f"}}}},
	}
	for _, r := range rows {
		err := Write(filepath.Join(t.TempDir(), "x.tar"), r.d)
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: %v, want %q", r.name, err, r.want)
		}
	}
}
