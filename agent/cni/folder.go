// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// DerivedName is the list that weir makes where the runtime's pick is a single
// plugin, which cannot be chained: that file stays as it is, and this one
// stands before it.
const DerivedName = "00-weir.conflist"

// errEmpty: the CNI has not written its configuration yet.
var errEmpty = errors.New("holds no usable CNI configuration")

// confNames are the files that a runtime reads, in its order (go-cni and
// ocicni: by name), without weir's own.
func confNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if !e.IsDir() && (ext == ".conf" || ext == ".conflist" || ext == ".json") && e.Name() != DerivedName {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// enter puts the plugin into the list that the runtime picks. An error beside
// a file's name is of other files: runtimes differ in whether they skip what
// they cannot parse.
func (i *Installer) enter() (file string, err error) {
	names, err := confNames(i.options.ConfDir)
	if err != nil {
		return "", err
	}
	var skipped []error
	for _, name := range names {
		err := i.enterFile(name)
		if err == nil {
			return name, errors.Join(skipped...)
		}
		err = fmt.Errorf("%s: %w", filepath.Join(i.options.ConfDir, name), err)
		var cannot unreadable
		if !errors.As(err, &cannot) {
			return "", errors.Join(append(skipped, err)...)
		}
		skipped = append(skipped, err)
	}
	// A list that was made of a file that is gone would keep the runtime
	// starting a plugin that may be gone, too.
	return "", errors.Join(errors.Join(skipped...), i.dropDerived(),
		fmt.Errorf("%s %w; is the CNI installed, and is this its folder (--cni-preset, --cni-conf-dir)?", i.options.ConfDir, errEmpty))
}

// unreadable: a file that is left alone.
type unreadable struct{ error }

func (u unreadable) Unwrap() error { return u.error }

func (i *Installer) enterFile(name string) error {
	path := filepath.Join(i.options.ConfDir, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		return i.explainLink(path, err)
	}
	if filepath.Ext(name) != ".conflist" {
		return i.derive(name, raw)
	}
	l, err := parseList(raw)
	if errors.Is(err, errUnchainable) {
		return err
	}
	if err != nil {
		return unreadable{err}
	}
	fresh, err := l.with(i.entry(""))
	if err != nil {
		return err
	}
	if !slices.Equal(fresh, raw) {
		if err := replace(path, raw, fresh); err != nil {
			return err
		}
	}
	return i.dropDerived()
}

// explainLink: a link that leads out of what the agent sees is not broken for
// the runtime, which will use it.
func (i *Installer) explainLink(path string, err error) error {
	target, linkErr := os.Readlink(path)
	if linkErr == nil && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is a link to %s, which weir-agent does not see: mount that folder into its pod", target)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return unreadable{err} // went away since it was listed
	}
	return err
}

// derive writes weir's own list for a single plugin.
func (i *Installer) derive(name string, single []byte) error {
	if name < DerivedName {
		return fmt.Errorf("%w: it is a single plugin, and sorts before %s, which would hold the list; rename it", errUnchainable, DerivedName)
	}
	text, err := listOf(single, i.entry(name))
	if errors.Is(err, errUnchainable) {
		return err
	}
	if err != nil {
		return unreadable{err}
	}
	path := filepath.Join(i.options.ConfDir, DerivedName)
	if now, err := os.ReadFile(path); err == nil && sameJSON(now, text) {
		return nil
	}
	return create(path, text, 0o644)
}

// entry is weir's element of the list.
func (i *Installer) entry(derivedFrom string) []byte {
	text, err := json.Marshal(struct {
		Type        string `json:"type"`
		Socket      string `json:"socket"`
		Failure     string `json:"failure"`
		Timeout     string `json:"timeout"`
		DerivedFrom string `json:"derivedFrom,omitempty"`
	}{PluginType, i.options.Socket, i.options.Failure, i.options.Timeout.String(), derivedFrom})
	if err != nil {
		panic(err) // strings always marshal
	}
	return text
}

func (i *Installer) dropDerived() error {
	err := os.Remove(filepath.Join(i.options.ConfDir, DerivedName))
	if err == nil {
		return syncDir(i.options.ConfDir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
