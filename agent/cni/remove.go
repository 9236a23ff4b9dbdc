// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Leave takes the plugin out of every configuration of the folder. The binary
// stays: a runtime may still call it for pods that were started with it. A
// folder that is not there has nothing to leave.
func (i *Installer) Leave() error {
	names, err := confNames(i.options.ConfDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := i.leaveFile(filepath.Join(i.options.ConfDir, name)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(i.options.ConfDir, name), err))
		}
	}
	return errors.Join(errors.Join(errs...), i.dropDerived(), sweepTemps(i.options.ConfDir, i.options.Now()))
}

// Remove is Leave, and removes the binary after it.
func (i *Installer) Remove() error {
	if err := i.Leave(); err != nil {
		return err // a list without its binary would start no pod
	}
	err := os.Remove(filepath.Join(i.options.BinDir, PluginType))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, sweepTemps(i.options.BinDir, i.options.Now()))
}

func (i *Installer) leaveFile(path string) error {
	return again(func() error {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !bytes.Contains(raw, []byte(PluginType)) {
			return err
		}
		l, err := parseList(raw)
		if err != nil && !errors.Is(err, errUnchainable) {
			return fmt.Errorf("it names %s and cannot be parsed: %w; take the plugin out by hand", PluginType, err)
		}
		if len(l.own()) == 0 {
			return nil
		}
		return replace(path, raw, l.without())
	})
}

// again repeats what lost a race with another writer.
func again(write func() error) error {
	const most = 5
	var err error
	for range most {
		if err = write(); !errors.Is(err, errChanged) {
			return err
		}
	}
	return err
}
