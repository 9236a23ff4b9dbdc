// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// memory keeps the last good version of each object across restarts: one file
// of JSON for each manifest, replaced by rename. It writes behind, so that no
// disk stands between a change and its verdict; what a crash loses is at most
// what was read within the last moments.
type memory struct {
	dir  string // empty: nothing is kept
	root string // the directory of manifests
	// files are those that were kept, for the caller to take over.
	files map[string]*file

	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	closing bool
	pending map[string][]byte   // by name in dir; nil: to be removed
	sums    map[string][32]byte // of what is in dir, or will be
	faults  map[string]string   // by name in dir
}

// record is the form of a kept manifest.
type record struct {
	Version   int            `json:"version"`
	Directory string         `json:"directory"`
	File      string         `json:"file"`
	Complete  bool           `json:"complete"`
	Objects   []recordObject `json:"objects"`
}

type recordObject struct {
	Line   int             `json:"line"`
	Source json.RawMessage `json:"source"`
}

const recordVersion = 1

// openMemory reads what was kept of the directory root. The error says that
// stateDir cannot be used; single files in it that cannot be read are problems.
func openMemory(stateDir, root string) (*memory, error) {
	m := &memory{
		root:    root,
		files:   make(map[string]*file),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		pending: make(map[string][]byte),
		sums:    make(map[string][32]byte),
		faults:  make(map[string]string),
	}
	if stateDir == "" {
		close(m.done)
		return m, nil
	}
	m.dir = filepath.Join(stateDir, "manifests")
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory for manifests: %w", err)
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, fmt.Errorf("state directory for manifests: %w", err)
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".json":
			if err := m.load(e.Name()); err != nil {
				m.faults[e.Name()] = fmt.Sprintf("the version kept in %s cannot be used: %v", filepath.Join(m.dir, e.Name()), err)
			}
		case ".tmp": // a writer died
			_ = os.Remove(filepath.Join(m.dir, e.Name()))
		}
	}
	go m.run()
	return m, nil
}

func (m *memory) load(name string) error {
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	if r.Directory != m.root {
		return nil
	}
	if r.Version != recordVersion {
		return fmt.Errorf("version %d is not %d", r.Version, recordVersion)
	}
	var kept manifest
	for _, o := range r.Objects {
		d := document{text: o.Source, json: o.Source, line: o.Line}
		kept.readObject(&d, o.Source, "")
	}
	f := &file{path: r.File, complete: r.Complete && len(kept.unusable) == 0, objects: make(map[objectID]object)}
	for _, o := range kept.objects {
		f.objects[o.id] = o
	}
	m.files[r.File] = f
	m.sums[name] = sha256.Sum256(data)
	if len(kept.unusable) > 0 {
		return errors.New(kept.unusable[0].problem.String())
	}
	return nil
}

func (m *memory) name(path string) string {
	sum := sha256.Sum256([]byte(m.root + "\x00" + path))
	return hex.EncodeToString(sum[:16]) + ".json"
}

// write takes down files as they are now.
func (m *memory) write(files map[string]*file) {
	if m.dir == "" || len(files) == 0 {
		return
	}
	m.mu.Lock()
	for path, f := range files {
		m.stage(m.name(path), m.encode(f))
	}
	m.mu.Unlock()
	m.signal()
}

func (m *memory) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// stage notes what name is to hold, if it is not that already.
func (m *memory) stage(name string, data []byte) {
	sum, was := m.sums[name]
	if data == nil {
		if was {
			delete(m.sums, name)
			m.pending[name] = nil
		}
		return
	}
	if now := sha256.Sum256(data); !was || now != sum {
		m.sums[name] = now
		m.pending[name] = data
	}
}

// encode gives nil for a manifest without objects.
func (m *memory) encode(f *file) []byte {
	if len(f.objects) == 0 {
		return nil
	}
	r := record{Version: recordVersion, Directory: m.root, File: f.path, Complete: f.complete}
	for _, id := range slices.SortedFunc(maps.Keys(f.objects), compareIDs) {
		o := f.objects[id]
		r.Objects = append(r.Objects, recordObject{Line: o.line, Source: o.source})
	}
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(r); err != nil {
		return nil // cannot be: sources are JSON that was decoded
	}
	return buf.Bytes()
}

// run writes what is pending until close.
func (m *memory) run() {
	defer close(m.done)
	for range m.wake {
		m.flush()
		m.mu.Lock()
		closing := m.closing
		m.mu.Unlock()
		if closing {
			return
		}
	}
}

// close writes what is left. A second flush covers what came during the first.
func (m *memory) close() {
	if m.dir == "" {
		return
	}
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.signal()
	<-m.done
}

func (m *memory) flush() {
	m.mu.Lock()
	work := m.pending
	m.pending = make(map[string][]byte)
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(work)) {
		m.mu.Lock()
		hurry := m.closing
		m.mu.Unlock()
		err := m.put(name, work[name], !hurry)
		m.mu.Lock()
		if err == nil {
			delete(m.faults, name)
		} else {
			delete(m.sums, name) // so that the next change tries again
			m.faults[name] = fmt.Sprintf("the last good version cannot be kept for a restart: %v", err)
		}
		m.mu.Unlock()
	}
}

// put replaces a file whole or not at all; durable: even if the power fails. An
// agent that is told to stop does not wait for thousands of syncs.
func (m *memory) put(name string, data []byte, durable bool) error {
	path := filepath.Join(m.dir, name)
	if data == nil {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	temp := strings.TrimSuffix(path, ".json") + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return os.Rename(temp, path)
}

func (m *memory) problems() []Problem {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Problem
	for _, name := range slices.Sorted(maps.Keys(m.faults)) {
		out = append(out, Problem{Message: m.faults[name]})
	}
	return out
}
