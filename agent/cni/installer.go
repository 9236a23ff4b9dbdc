// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Installer keeps the plugin installed on one node. Its methods may not run at
// the same time.
type Installer struct {
	options Options
	log     *slog.Logger
}

// NewInstaller starts nothing.
func NewInstaller(o Options, log *slog.Logger) (*Installer, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("CNI plugin: %w", err)
	}
	return &Installer{options: o, log: log}, nil
}

// Install puts binary and entry in place, in that order. Done twice it changes
// nothing. The name is of the file that has the entry, also beside an error
// about other files; empty: none has it.
func (i *Installer) Install() (file string, err error) {
	if err := i.copyBinary(); err != nil {
		return "", fmt.Errorf("CNI plugin: %w", err)
	}
	err = again(func() error {
		file, err = i.enter()
		return err
	})
	if err != nil {
		return file, fmt.Errorf("CNI configuration: %w", err)
	}
	return file, nil
}

func (i *Installer) copyBinary() error {
	fresh, err := os.ReadFile(i.options.Binary)
	if err != nil {
		return err
	}
	path := filepath.Join(i.options.BinDir, PluginType)
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, fresh) {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o111 != 0 {
			return nil
		}
	}
	return create(path, fresh, 0o755)
}

// lookEvery: for what gives no notice, e.g. the target of a link elsewhere, or
// a folder that was not there at first.
const lookEvery = 10 * time.Second

// Run installs, and installs again whenever the folder changes, until ctx
// ends. Each outcome is told. The plugin stays installed when Run returns.
func (i *Installer) Run(ctx context.Context, told func(file string, err error)) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch CNI configuration: %w", err)
	}
	defer notify.Close()
	for _, dir := range []string{i.options.ConfDir, i.options.BinDir} {
		if err := sweepTemps(dir, i.options.Now()); err != nil {
			i.log.Warn("left-over temporary files of the CNI plugin", "dir", dir, "error", err)
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := "nothing told yet"
	for {
		// Before the look, so that no change falls in between. A folder that
		// was replaced needs a new watch, and one that is not there gets none.
		_ = notify.Add(i.options.ConfDir)
		file, err := i.Install()
		if outcome := fmt.Sprint(file, err); outcome != last {
			last = outcome
			i.tell(file, err)
		}
		told(file, err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-notify.Events:
		case err := <-notify.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				i.log.Warn("watching the CNI configuration", "error", err)
			}
		}
	}
}

func (i *Installer) tell(file string, err error) {
	if err != nil {
		i.log.Error("CNI plugin", "error", err)
	}
	if file != "" {
		i.log.Info("CNI plugin is installed", "file", filepath.Join(i.options.ConfDir, file), "failure", i.options.Failure)
	}
}
