// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
)

// bench is where mutants are made: the sources, which stay as they are, and a
// folder for what replaces them.
type bench struct {
	root      string // of the module
	generator *generator
}

// overlay writes into dir what the go command takes by -overlay, and returns
// its path. Mutant nil changes nothing, but builds the BPF object too.
func (b *bench) overlay(ctx context.Context, dir string, m *Mutant) (string, error) {
	replace := map[string]string{}
	var err error
	if m == nil || m.isProgram() {
		err = b.replaceObject(ctx, dir, m, replace)
	} else {
		err = b.replaceSource(dir, m, replace)
	}
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

func (b *bench) replaceSource(dir string, m *Mutant, replace map[string]string) error {
	source, changed := filepath.Join(b.root, m.File), filepath.Join(dir, filepath.Base(m.File))
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	broken, err := m.apply(string(text))
	if err != nil {
		return err
	}
	replace[source] = changed
	return os.WriteFile(changed, []byte(broken), 0o600)
}

func (b *bench) replaceObject(ctx context.Context, dir string, m *Mutant, replace map[string]string) error {
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS(filepath.Join(b.root, programDir, "src"))); err != nil {
		return err
	}
	if m != nil {
		path := filepath.Join(dir, "src", filepath.Base(m.File))
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		broken, err := m.apply(string(text))
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			return err
		}
	}
	if err := b.generator.generate(ctx, dir); err != nil {
		return err
	}
	for _, name := range products {
		replace[filepath.Join(b.root, programDir, name)] = filepath.Join(dir, name)
	}
	return nil
}
