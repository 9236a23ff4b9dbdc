// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func tree(changed map[string]string) fstest.MapFS {
	files := fstest.MapFS{
		"go.mod":               {Data: []byte("module m")},
		"go.sum":               {Data: []byte("sums")},
		"control/a_test.go":    {Data: []byte("package a")},
		"control/note.txt":     {Data: []byte("note")},
		"harness/unrelated.go": {Data: []byte("package h")},
	}
	for _, dir := range Sources {
		files[dir+"/a.go"] = &fstest.MapFile{Data: []byte("package a")}
	}
	for name, content := range changed {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

func TestKey(t *testing.T) {
	plain, err := Key(tree(nil), "go1.26.0")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, version string
		changed       map[string]string
		same          bool
	}{
		{"nothing", "go1.26.0", nil, true},
		{"Go version", "go1.26.1", nil, false},
		{"go.sum", "go1.26.0", map[string]string{"go.sum": "other"}, false},
		{"go.mod", "go1.26.0", map[string]string{"go.mod": "other"}, false},
		{"a source", "go1.26.0", map[string]string{"control/a.go": "package b"}, false},
		{"a new source", "go1.26.0", map[string]string{"control/b.go": "package a"}, false},
		{"a test", "go1.26.0", map[string]string{"control/a_test.go": "package b"}, true},
		{"no source", "go1.26.0", map[string]string{"control/note.txt": "b"}, true},
		{"a package that is not built in", "go1.26.0", map[string]string{"harness/unrelated.go": "b"}, true},
	}
	for _, r := range rows {
		key, err := Key(tree(r.changed), r.version)
		if err != nil || (key == plain) != r.same {
			t.Errorf("%s: key %s (%v), plain %s; want the same: %v", r.name, key, err, plain, r.same)
		}
	}
}

func TestKeyNeedsEverySource(t *testing.T) {
	files := tree(nil)
	delete(files, "layout/a.go")
	if key, err := Key(files, "go1.26.0"); err == nil {
		t.Errorf("key %s of a tree without package layout, want an error", key)
	}
}

// Sources must name every package of this module that a built program holds,
// or a change of it would go unseen.
func TestSourcesAreComplete(t *testing.T) {
	const module = "github.com/weirnet/weir/test/cluster/"
	command := exec.Command("go", "list", "-deps", "./cmd/weir-kubernetes", "./cmd/agnhost", "./cmd/pause")
	command.Dir = ".."
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), module); ok {
			found = append(found, dir)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, Sources) {
		t.Errorf("programs are built of %v, Sources names %v", found, Sources)
	}
}
