// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// How often a file that a writer holds open is tried, and when that
	// becomes a problem to tell of.
	retryWriter  = 2 * time.Millisecond
	retryWriting = 200 * time.Millisecond
	tellWriter   = 5 * time.Second
)

// listing is the directory as it was read last. One goroutine owns it.
type listing struct {
	opts   DirectoryOptions
	notify *fsnotify.Watcher
	store  *store
	memory *memory
	files  map[string]*file
	dirs   map[string]struct{} // relative paths that are watched
	root   stamp
	faults []Problem // of the directory as a whole and of subdirectories
	lost   []string  // subdirectories that cannot be read: their files stay

	started bool                // everything was read once
	absent  bool                // the directory is not there
	full    bool                // read everything
	touch   map[string]struct{} // relative paths to read
	written map[string]*file    // to be remembered
}

// note takes down that something happened to a path, and reports whether that
// matters. The temporary files beside a manifest do not: they must not begin a
// burst that ends before their renames do.
func (l *listing) note(path string) bool {
	rel, err := filepath.Rel(l.opts.Path, path)
	if err != nil || rel == "." {
		l.full = true
		return true
	}
	base := filepath.Base(rel)
	_, isDir := l.dirs[rel]
	switch {
	case isDir, strings.HasPrefix(base, ".."):
		// "..data" is the link that a ConfigMap volume moves: all its
		// files change with it.
		l.full = true
		return true
	case strings.HasPrefix(base, "."):
		return false
	case isManifest(base):
		l.touch[rel] = struct{}{}
		return true
	}
	info, err := os.Lstat(path)
	isDir = err == nil && info.IsDir()
	l.full = l.full || isDir
	return isDir
}

func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// gather waits until nothing has happened for a while, and reports false when
// ctx has ended.
func (l *listing) gather(ctx context.Context, quiet *time.Timer) bool {
	last := time.Now()
	end := last.Add(l.opts.Burst)
	for {
		left := min(time.Until(last.Add(l.opts.Quiet)), time.Until(end))
		quiet.Reset(max(left, 0))
		select {
		case <-ctx.Done():
			return false
		case event, open := <-l.notify.Events:
			if !open {
				return true
			}
			if l.note(event.Name) {
				last = time.Now()
			}
			continue
		case <-quiet.C:
		}
		// A late timer says nothing of quiet if notices wait as well.
		select {
		case event, open := <-l.notify.Events:
			if !open || !time.Now().Before(end) {
				l.note(event.Name)
				return true
			}
			if l.note(event.Name) {
				last = time.Now()
			}
		default:
			return true
		}
	}
}

// next is when something must be looked at again without any notice; below
// zero: never.
func (l *listing) next() time.Duration {
	next := time.Duration(-1)
	if l.absent {
		return next // only a rescan can tell of its return
	}
	for _, f := range l.files {
		var at time.Duration
		switch {
		case !f.leaving.IsZero():
			at = max(0, time.Until(f.leaving))
		case !f.waiting.IsZero():
			at = retryWriter
			if time.Since(f.waiting) > 100*retryWriter {
				at = retryWriting
			}
		default:
			continue
		}
		if next < 0 || at < next {
			next = at
		}
	}
	return next
}

// read brings files up to what is on disk.
func (l *listing) read() {
	for path, f := range l.files {
		if !f.leaving.IsZero() || !f.waiting.IsZero() {
			l.touch[path] = struct{}{}
		}
	}
	if l.absent = !l.present(); l.absent {
		l.full = true
		return
	}
	if l.full {
		l.full = false
		l.faults, l.lost = nil, nil
		found := make(map[string]struct{})
		l.walk(".", found)
		l.forgetDirs()
		for path := range l.files {
			found[path] = struct{}{}
		}
		for path := range found {
			_, noticed := l.touch[path]
			l.check(path, noticed)
		}
	} else {
		for _, path := range slices.Sorted(maps.Keys(l.touch)) {
			l.check(path, true)
		}
	}
	clear(l.touch)
	l.started = true
}

// present reports whether the directory is there. One that was replaced by an
// empty one is not: its file system may have been unmounted, and "no files" is
// then no wish of anybody.
func (l *listing) present() bool {
	info, err := os.Stat(l.opts.Path)
	if err != nil {
		l.faults = []Problem{{Message: fmt.Sprintf("the directory of manifests cannot be read: %v%s", err, keepsAll)}}
		return false
	}
	now := stampOf(info)
	same := now.device == l.root.device && now.inode == l.root.inode
	if same || l.root == (stamp{}) {
		l.root = now
		return true
	}
	found := make(map[string]struct{})
	l.walk(".", found)
	if len(found) == 0 && len(l.files) > 0 {
		l.faults = []Problem{{Message: fmt.Sprintf("%s was replaced by a directory without manifests (unmounted?)%s: put the manifests there, or restart the agent to drop them", l.opts.Path, keepsAll)}}
		return false
	}
	l.root = now
	l.full = true
	return true
}

// walk lists the manifests below dir. It watches a directory before it lists
// it: what comes between is then seen twice rather than never.
func (l *listing) walk(dir string, found map[string]struct{}) {
	path := filepath.Join(l.opts.Path, dir)
	if err := l.notify.Add(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.faults = append(l.faults, Problem{File: inFile(dir), Message: fmt.Sprintf(
			"changes of this directory are seen only every %s: %v (if there are too many watches, raise the sysctl fs.inotify.max_user_watches)", l.opts.Rescan, err)})
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && dir != "." {
			return
		}
		l.lost = append(l.lost, dir)
		l.faults = append(l.faults, Problem{File: inFile(dir), Message: fmt.Sprintf("the directory cannot be read: %v%s", err, keepsAll)})
		return
	}
	l.dirs[dir] = struct{}{}
	for _, e := range entries {
		rel := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			l.walk(rel, found)
		case isManifest(e.Name()):
			found[rel] = struct{}{}
		}
	}
}

func inFile(dir string) string {
	if dir == "." {
		return ""
	}
	return dir
}

func (l *listing) forgetDirs() {
	for dir := range l.dirs {
		if info, err := os.Stat(filepath.Join(l.opts.Path, dir)); err != nil || !info.IsDir() {
			_ = l.notify.Remove(filepath.Join(l.opts.Path, dir)) // gone with the directory, as a rule
			delete(l.dirs, dir)
		}
	}
}

// isLost: the file lies in a directory that cannot be listed.
func (l *listing) isLost(path string) bool {
	return slices.ContainsFunc(l.lost, func(dir string) bool {
		return dir == "." || strings.HasPrefix(path, dir+string(filepath.Separator))
	})
}

// check reads one file if it is, or may be, another than before. noticed: do
// not trust the stamp.
func (l *listing) check(path string, noticed bool) {
	full := filepath.Join(l.opts.Path, path)
	info, err := os.Stat(full)
	f := l.files[path]
	if err != nil {
		l.missing(path, f, err)
		return
	}
	if info.IsDir() {
		return
	}
	now := stampOf(info)
	if f != nil && !noticed && f.leaving.IsZero() && f.stamp == now {
		return
	}
	if f == nil {
		f = &file{path: path, objects: make(map[objectID]object)}
		l.files[path] = f
	}
	l.stay(f)
	f.stamp = now
	// A later write within one tick of the clock leaves the stamp equal.
	if now.fresh(time.Now()) {
		f.stamp = stamp{}
	}
	l.load(f, full)
}

// missing is a file that is not there, or whose place cannot be looked at.
func (l *listing) missing(path string, f *file, err error) {
	if f == nil {
		return
	}
	_, linkErr := os.Lstat(filepath.Join(l.opts.Path, path))
	switch {
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR), l.isLost(path):
		f.unreadable(fmt.Sprintf("cannot be read: %v", err))
	case linkErr == nil:
		f.unreadable("the link leads nowhere")
	case f.leaving.IsZero() && l.started:
		f.leaving = time.Now().Add(l.opts.Absence)
		f.waiting = time.Time{}
		l.store.changed(f, idsOf(f.objects))
	case !time.Now().Before(f.leaving): // or it went before this run
		ids := idsOf(f.objects)
		f.objects = nil
		l.store.changed(f, ids)
		delete(l.files, path)
		l.remember(f)
	}
}

// stay takes back that a file is gone.
func (l *listing) stay(f *file) {
	if f.leaving.IsZero() {
		return
	}
	f.leaving = time.Time{}
	l.store.changed(f, idsOf(f.objects))
}

func (l *listing) load(f *file, full string) {
	data, busy, err := contentOf(full)
	switch {
	case err != nil:
		f.waiting = time.Time{}
		f.unreadable(fmt.Sprintf("cannot be read: %v", err))
		return
	case busy:
		l.busy(f)
		return
	case len(data) == 0 && len(f.objects) > 0:
		// What a crash leaves of a file that was being written.
		f.waiting = time.Time{}
		f.unreadable("the file is empty: remove it if its objects are to go")
		return
	}
	f.waiting = time.Time{}
	l.store.changed(f, f.take(parse(f.path, data)))
	l.remember(f)
}

// busy: a file that is being written is left as it was, and tried again soon.
func (l *listing) busy(f *file) {
	if f.waiting.IsZero() {
		f.waiting = time.Now()
	}
	if !f.complete || time.Since(f.waiting) > tellWriter {
		f.unreadable("another process has the file open for writing: close it, or write beside it and rename")
	}
}

func (l *listing) remember(f *file) {
	if l.written == nil {
		l.written = make(map[string]*file)
	}
	l.written[f.path] = f
}

func (l *listing) takeWritten() map[string]*file {
	w := l.written
	l.written = nil
	return w
}

// problems are all of now.
func (l *listing) problems() []Problem {
	out := slices.Clone(l.faults)
	for _, f := range l.files {
		for _, p := range f.problems {
			p.File = f.path
			out = append(out, p)
		}
	}
	out = append(out, l.store.problems()...)
	out = append(out, l.memory.problems()...)
	slices.SortFunc(out, compareProblems)
	return slices.CompactFunc(out, func(a, b Problem) bool { return compareProblems(a, b) == 0 })
}
