// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File of an image, mode 0755.
type File struct {
	Source string // on this machine
	Path   string // in the image, absolute
}

// Description of an image with one layer. Times are left at zero: equal files
// make equal images.
type Description struct {
	Tag        string
	Entrypoint []string
	Files      []File
}

// Write an image as an archive in Docker's format.
func Write(archive string, d Description) error {
	tag, err := name.NewTag(d.Tag)
	if err != nil {
		return fmt.Errorf("%w; give a tag such as example.org/tool:1", err)
	}
	content, err := layerContent(d.Files)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithCompressionLevel(1))
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, withConfig(image, d))
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, tag, image)
}

func withConfig(image v1.Image, d Description) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{} // mutate finds and tells the same error
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.Entrypoint = d.Entrypoint
	config.Config.WorkingDir = "/"
	config.Config.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"}
	return config
}

// layerContent is a tar with the files, their folders, and what programs look
// for in any system: /tmp, and names for the users 0 and 65534.
func layerContent(files []File) ([]byte, error) {
	var buffer bytes.Buffer
	l := layerWriter{tar: tar.NewWriter(&buffer), folders: map[string]bool{}}
	l.folder("/tmp", 0o1777)
	l.file("/etc/passwd", []byte("root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n"), 0o644)
	l.file("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"), 0o644)
	for _, f := range files {
		content, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, err
		}
		l.file(f.Path, content, 0o755)
	}
	if l.err == nil {
		l.err = l.tar.Close()
	}
	return buffer.Bytes(), l.err
}

// layerWriter keeps the first error.
type layerWriter struct {
	tar     *tar.Writer
	folders map[string]bool
	err     error
}

func (l *layerWriter) header(h *tar.Header) {
	if l.err == nil {
		l.err = l.tar.WriteHeader(h)
	}
}

func (l *layerWriter) folder(name string, mode int64) {
	if name == "/" || l.folders[name] {
		return
	}
	l.folder(path.Dir(name), 0o755)
	l.folders[name] = true
	l.header(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(name, "/") + "/", Mode: mode})
}

func (l *layerWriter) file(name string, content []byte, mode int64) {
	name = path.Clean("/" + name)
	l.folder(path.Dir(name), 0o755)
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: int64(len(content))})
	if l.err == nil {
		_, l.err = l.tar.Write(content)
	}
}
