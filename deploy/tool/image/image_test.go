// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestMake(t *testing.T) {
	bin := t.TempDir()
	for _, arch := range Architectures() {
		for _, program := range programs() {
			path := filepath.Join(bin, arch, program)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(program+" for "+arch), 0o600))
		}
	}
	first, second := t.TempDir(), t.TempDir()
	for _, out := range []string{first, second, second} { // the last over an older one
		must(t, Make(Options{Binaries: bin, Out: out, Tag: "weirnet/weir:1", Commit: "abc"}))
	}
	must(t, filepath.WalkDir(first, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(first, path)
		a, err := os.ReadFile(path)
		must(t, err)
		if b, err := os.ReadFile(filepath.Join(second, rel)); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs between two builds (%v)", rel, err)
		}
		return nil
	}))

	index, err := layout.ImageIndexFromPath(filepath.Join(first, "oci"))
	must(t, err)
	must(t, validate.Index(index))
	outer, err := index.IndexManifest()
	must(t, err)
	if len(outer.Manifests) != 1 || outer.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "weirnet/weir:1" {
		t.Fatalf("the layout holds %+v", outer.Manifests)
	}
	both, err := index.ImageIndex(outer.Manifests[0].Digest)
	must(t, err)
	inner, err := both.IndexManifest()
	must(t, err)
	var found []string
	for _, m := range inner.Manifests {
		image, err := both.Image(m.Digest)
		must(t, err)
		found = append(found, m.Platform.String())
		checkImage(t, image, m.Platform.Architecture)
	}
	if got := strings.Join(found, " "); got != "linux/amd64 linux/arm64" {
		t.Errorf("platforms %s", got)
	}
	for _, arch := range Architectures() {
		image, err := tarball.ImageFromPath(filepath.Join(first, "weir-"+arch+".tar"), nil)
		must(t, err)
		checkImage(t, image, arch)
	}
}

func checkImage(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	config, err := image.ConfigFile()
	must(t, err)
	if config.Architecture != arch || config.OS != "linux" || config.Config.Entrypoint[0] != "/usr/bin/weir-agent" || config.Config.User != "0" || !config.Created.Equal(epoch()) {
		t.Errorf("%s: config %+v", arch, config)
	}
	content := mutate.Extract(image)
	defer content.Close()
	r := tar.NewReader(content)
	var files []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		text, err := io.ReadAll(r)
		must(t, err)
		if h.Mode != 0o755 || h.Uid != 0 || string(text) != filepath.Base(h.Name)+" for "+arch {
			t.Errorf("%s: %s has mode %o, owner %d, text %q", arch, h.Name, h.Mode, h.Uid, text)
		}
		files = append(files, h.Name)
	}
	slices.Sort(files)
	if got := strings.Join(files, " "); got != "usr/bin/weir usr/bin/weir-agent usr/bin/weir-cni" {
		t.Errorf("%s: files %s", arch, got)
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, row := range []struct {
		fault string
		o     Options
	}{
		{"-bin", Options{Out: "x", Tag: "a:1"}},
		{"-tag", Options{Out: t.TempDir(), Binaries: t.TempDir(), Tag: "A B"}},
		{"amd64", Options{Out: t.TempDir(), Binaries: t.TempDir(), Tag: "a:1"}},
	} {
		if err := Make(row.o); err == nil || !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%+v: error %v, want one with %q", row.o, err, row.fault)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
