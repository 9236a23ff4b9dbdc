// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Record of a process that was started.
type Record struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, /proc/PID/stat field 22
}

// Running says whether the recorded process is still there. One that ended
// and was not waited for yet is not.
func (r Record) Running() bool {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if start, err := startOf(r.PID); err != nil || start != r.Start {
		return false
	}
	// Not the state in /proc: it is a zombie's also for a moment in which
	// another thread than the first turns the process into another program.
	ended, err := waitFor(fd, 0)
	return err == nil && !ended
}

// startOf reads a process's start time.
func startOf(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStart(string(raw))
}

// parseStart begins behind the last parenthesis: the name before it is chosen
// by the process and may hold anything, "a) R 1 (b" for one.
func parseStart(line string) (uint64, error) {
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	if end < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("not a line of /proc/PID/stat: %q", line)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Folder of records.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), name+".json") }

// Get the record of a process; fs.ErrNotExist if there is none.
func (f Folder) Get(name string) (Record, error) {
	var r Record
	raw, err := os.ReadFile(f.path(name))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("record %s: %w", f.path(name), err)
	}
	return r, nil
}

// All records, by name. A record that cannot be read, such as a half-written
// one of a starter that was killed, is an error beside the others.
func (f Folder) All() ([]Record, error) {
	files, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Record
	var errs []error
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), ".json")
		if !ok {
			continue
		}
		r, err := f.Get(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, r)
	}
	return list, errors.Join(errs...)
}

func (f Folder) put(r Record) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temporary := f.path(r.Name) + ".new"
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, f.path(r.Name))
}
