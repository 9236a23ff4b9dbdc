// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// supervisor starts children and learns of their ends. As process 1 it is the
// parent of every orphan too, so all ends are collected in one place: a wait
// for a single child elsewhere would race with it.
type supervisor struct {
	children chan os.Signal
	mu       sync.Mutex
	ended    map[int]chan unix.WaitStatus
}

func newSupervisor() *supervisor {
	s := &supervisor{children: make(chan os.Signal, 1), ended: make(map[int]chan unix.WaitStatus)}
	signal.Notify(s.children, unix.SIGCHLD)
	return s
}

// reap collects ended children until stop is closed.
func (s *supervisor) reap(stop <-chan struct{}) {
	defer signal.Stop(s.children)
	for {
		select {
		case <-stop:
			return
		case <-s.children: // one signal may stand for many
			s.collect()
		}
	}
}

func (s *supervisor) collect() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		s.mu.Lock()
		if end, ok := s.ended[pid]; ok {
			end <- status
			delete(s.ended, pid)
		}
		s.mu.Unlock()
	}
}

// start a child; its status comes on the channel.
func (s *supervisor) start(log *os.File, path string, args ...string) (<-chan unix.WaitStatus, error) {
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("%w; make packages-cluster installs what a node runs", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	s.mu.Lock() // a child that ends at once is collected after it is known
	defer s.mu.Unlock()
	child, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, log, log},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	end := make(chan unix.WaitStatus, 1)
	s.ended[child.Pid] = end
	return end, child.Release()
}

// run a child to its end.
func (s *supervisor) run(log *os.File, path string, args ...string) error {
	end, err := s.start(log, path, args...)
	if err != nil {
		return err
	}
	if status := <-end; status != 0 {
		return fmt.Errorf("%s %v: %s", path, args, describe(status))
	}
	return nil
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
