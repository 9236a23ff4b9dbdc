// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Command is a process to start.
type Command struct {
	Name    string // of its record
	Path    string
	Args    []string
	Log     string  // file for its output, appended
	Unshare uintptr // CLONE_NEW flags: namespaces that it is born in
}

// Process was started, and holds back until it is released: it shall read its
// standard input to the end before it does anything that needs what the
// starter has yet to prepare.
type Process struct {
	Record
	gate *os.File
}

// Start a command in a session of its own, and record it.
func (f Folder) Start(c Command) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	input, gate, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: c.Unshare}
	if err := cmd.Start(); err != nil {
		gate.Close()
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Process{Record: Record{Name: c.Name, PID: cmd.Process.Pid}, gate: gate}
	if p.Record.Start, err = startOf(p.PID); err == nil {
		err = f.put(p.Record)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		gate.Close()
		return nil, fmt.Errorf("record %s: %w", c.Name, err)
	}
	return p, cmd.Process.Release()
}

// Release lets the process go on.
func (p *Process) Release() error { return p.gate.Close() }
