// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weirnet/weir/policy"
)

// Directory is the Source that reads manifests from files.
type Directory struct {
	opts DirectoryOptions
	log  *slog.Logger
	report
}

var _ Source = (*Directory)(nil)

// NewDirectory takes the options with their defaults. The error is that of
// Validate.
func NewDirectory(opts DirectoryOptions, log *slog.Logger) (*Directory, error) {
	opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("directory of manifests %s: %w", opts.Path, err)
	}
	opts.Path = path
	return &Directory{opts: opts, log: log, report: report{log: log, now: opts.Now, what: "a manifest"}}, nil
}

// Problems are those of now, sorted by file, line and object.
func (d *Directory) Problems() []Problem { return d.report.problems() }

// Health is nil if all that the files hold is in force.
func (d *Directory) Health() error { return d.report.health() }

// Run sends batches until ctx ends, then closes out. The error says why the
// directory could not be watched at all; one that vanishes later is a Problem,
// and what it held stays in force.
func (d *Directory) Run(ctx context.Context, out chan<- policy.Batch) error {
	defer close(out)
	notify, err := d.open()
	if err != nil {
		return err
	}
	defer notify.Close()
	memory, err := openMemory(d.opts.StateDir, d.opts.Path)
	if err != nil {
		return err
	}
	defer memory.close()
	l := &listing{
		opts:   d.opts,
		notify: notify,
		store:  newStore(),
		memory: memory,
		files:  memory.files,
		dirs:   make(map[string]struct{}),
		full:   true,
		touch:  make(map[string]struct{}),
	}
	for _, f := range l.files {
		l.store.changed(f, idsOf(f.objects))
	}
	l.read()
	b, _ := l.store.batch()
	b.Synced = true
	d.report.set(l.problems())
	d.report.sync()
	if !send(ctx, out, b) {
		return nil
	}
	l.memory.write(l.takeWritten())
	return d.follow(ctx, l, out)
}

// Check says what is wrong with the directory, without any trace: it is asked
// before anything depends on the directory.
func (d *Directory) Check() error {
	info, err := os.Stat(d.opts.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory of manifests %s does not exist: create it, or name another", d.opts.Path)
	case err != nil:
		return fmt.Errorf("directory of manifests: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: name the directory that holds the manifests", d.opts.Path)
	}
	if _, err := os.ReadDir(d.opts.Path); err != nil {
		return fmt.Errorf("directory of manifests cannot be read: %w", err)
	}
	return nil
}

func (d *Directory) open() (*fsnotify.Watcher, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w (if there are too many, raise the sysctl fs.inotify.max_user_instances)", d.opts.Path, err)
	}
	return notify, nil
}

// follow reads what changes, burst by burst.
func (d *Directory) follow(ctx context.Context, l *listing, out chan<- policy.Batch) error {
	rescan := time.NewTicker(d.opts.Rescan)
	defer rescan.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		rearm(wake, l.next())
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-l.notify.Events:
			if !open {
				return fmt.Errorf("watch %s: the watcher closed", d.opts.Path)
			}
			if !l.note(event.Name) {
				continue
			}
			if !l.gather(ctx, wake) {
				return nil
			}
		case err, open := <-l.notify.Errors:
			if !open {
				return fmt.Errorf("watch %s: the watcher closed", d.opts.Path)
			}
			// More changes than the kernel keeps, or a watch that is
			// lost: the files themselves tell.
			d.log.Warn("notices of changes were lost; reading all manifests", "directory", d.opts.Path, "error", err)
			l.full = true
		case <-rescan.C:
			l.full = true
		case <-wake.C:
		}
		l.read()
		b, empty := l.store.batch()
		d.report.set(l.problems())
		if !empty {
			b.Synced = true
			if !send(ctx, out, b) {
				return nil
			}
		}
		l.memory.write(l.takeWritten())
	}
}

func rearm(t *time.Timer, d time.Duration) {
	if d < 0 {
		t.Stop()
		return
	}
	t.Reset(d)
}

func send(ctx context.Context, out chan<- policy.Batch, b policy.Batch) bool {
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}
