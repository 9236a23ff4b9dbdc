// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sources are the folders of the module that the built programs consist of.
// The harness's other packages are part of weir-cluster alone, which is not
// kept; a change of theirs must not cost a build of Kubernetes. A test
// compares with what the go command says.
var Sources = []string{"cmd/agnhost", "cmd/pause", "cmd/weir-kubernetes", "control", "layout"}

// Key names what the sources at root make with a version of Go: a hash over
// the version, go.mod, go.sum and every Go file of Sources.
func Key(root fs.FS, goVersion string) (string, error) {
	files := []string{"go.mod", "go.sum"}
	for _, dir := range Sources {
		err := fs.WalkDir(root, dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("list sources of the harness: %w", err)
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", goVersion)
	for _, name := range files {
		raw, err := fs.ReadFile(root, name)
		if err != nil {
			return "", fmt.Errorf("read sources of the harness: %w", err)
		}
		// With the length, so that no move of bytes between files goes unseen.
		fmt.Fprintf(sum, "%s %d\n", name, len(raw))
		sum.Write(raw)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// CacheRoot is the folder of all builds: $WEIR_CLUSTER_CACHE, or weir-cluster
// in the user's cache folder.
func CacheRoot() (string, error) {
	if dir := os.Getenv("WEIR_CLUSTER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; name a folder for builds in WEIR_CLUSTER_CACHE", err)
	}
	return filepath.Join(dir, "weir-cluster"), nil
}
