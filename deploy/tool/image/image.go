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
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options of Make.
type Options struct {
	Binaries string // has a folder for each architecture
	Out      string
	Tag      string // name:tag
	Commit   string
}

// Architectures as Go and OCI name them.
func Architectures() []string { return []string{"amd64", "arm64"} }

// programs are all that is in the image; there is no shell.
func programs() []string { return []string{"weir-agent", "weir-cni", "weir"} }

// Make writes Out/oci and Out/weir-ARCH.tar.
func Make(o Options) error {
	if o.Binaries == "" || o.Out == "" {
		return errors.New("-bin and -out must name folders")
	}
	tag, err := name.NewTag(o.Tag)
	if err != nil {
		return fmt.Errorf("-tag %q: %w", o.Tag, err)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range Architectures() {
		image, err := build(o, arch)
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
		if err := tarball.WriteToFile(filepath.Join(o.Out, "weir-"+arch+".tar"), tag, image); err != nil {
			return err
		}
	}
	return writeLayout(filepath.Join(o.Out, "oci"), index, o.Tag)
}

// writeLayout replaces what is there: layers of earlier builds would stay.
func writeLayout(dir string, index v1.ImageIndex, tag string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
}

func build(o Options, arch string) (v1.Image, error) {
	layer, err := layerOf(filepath.Join(o.Binaries, arch))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Created = v1.Time{Time: epoch()}
	file.Config = v1.Config{
		User:       "0",
		Env:        []string{"PATH=/usr/bin"},
		Entrypoint: []string{"/usr/bin/weir-agent"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "weir",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.revision": o.Commit,
		},
	}
	return mutate.ConfigFile(image, file)
}

// epoch is the time of all files: that of the build would change the bytes.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// layerOf has the programs in /usr/bin. Nothing is in /bin: on k3d the folder
// of CNI plugins is mounted there.
func layerOf(dir string) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, parent := range []string{"usr/", "usr/bin/", "etc/", "etc/weir/", "run/", "tmp/", "var/", "var/lib/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: parent, Mode: 0o755, ModTime: epoch(), Format: tar.FormatPAX}); err != nil {
			return nil, err
		}
	}
	for _, program := range programs() {
		raw, err := os.ReadFile(filepath.Join(dir, program))
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: "usr/bin/" + program, Mode: 0o755, Size: int64(len(raw)), ModTime: epoch(), Format: tar.FormatPAX}); err != nil {
			return nil, err
		}
		if _, err := w.Write(raw); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}
