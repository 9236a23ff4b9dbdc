// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watchConfig applies a changed file: modes at once. Anything else is
// reported as needing a restart; a file that cannot be used is reported and
// the old values stay.
func watchConfig(ctx context.Context, setup Setup, ctl *controller, st *state) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	defer notify.Close()
	// The folder, since files are replaced by rename, and a ConfigMap's by a
	// link beside them.
	if err := notify.Add(filepath.Dir(setup.Config)); err != nil {
		return fmt.Errorf("watch configuration %s: %w", setup.Config, err)
	}
	running := setup.Options
	slow := time.NewTicker(10 * time.Second) // for file systems that give no notice
	defer slow.Stop()
	seen := configTime(setup.Config)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-notify.Events:
		case err := <-notify.Errors:
			setup.Log.Warn("watching the configuration", "error", err)
		case <-slow.C:
			if configTime(setup.Config).Equal(seen) {
				continue
			}
		}
		seen = configTime(setup.Config)
		running = reload(ctx, setup, running, ctl, st)
	}
}

// reload returns the options that are in force now.
func reload(ctx context.Context, setup Setup, running Options, ctl *controller, st *state) Options {
	fresh, err := setup.Reload()
	if err != nil {
		err = fmt.Errorf("the configuration cannot be used, and the old values stay: %w", err)
		if st.set(conditionConfig, false, err, 1) {
			setup.Log.Error("configuration", "file", setup.Config, "error", err)
		}
		return running
	}
	if fresh.Mode != running.Mode || !maps.Equal(fresh.Modes, running.Modes) {
		if err := ctl.setModes(ctx, fresh.Mode, fresh.Modes); err != nil {
			return running // the agent is ending
		}
		setup.Log.Info("modes changed", "mode", fresh.Mode, "namespaces", fresh.Modes)
		running.Mode, running.Modes = fresh.Mode, fresh.Modes
	}
	var restart error
	if !reflect.DeepEqual(fresh, running) {
		restart = fmt.Errorf("%s has changes beyond modes; restart the agent to take them", setup.Config)
	}
	if st.set(conditionConfig, false, restart, 1) && restart != nil {
		setup.Log.Warn("configuration", "error", restart)
	}
	return running
}
