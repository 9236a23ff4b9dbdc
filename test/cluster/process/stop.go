// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stop ends the recorded process, by SIGTERM and after the grace by SIGKILL,
// waits until it is gone, and removes the record.
func (f Folder) Stop(r Record, grace time.Duration) error {
	if err := end(r, grace); err != nil {
		return fmt.Errorf("end %s (process %d): %w", r.Name, r.PID, err)
	}
	return os.Remove(f.path(r.Name))
}

// Signal the recorded process, if it is still there.
func (r Record) Signal(signal unix.Signal) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err == nil {
		defer unix.Close(fd)
		if !r.Running() {
			err = unix.ESRCH
		}
	}
	if err == nil {
		err = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
	if err != nil {
		return fmt.Errorf("signal %s (process %d): %w", r.Name, r.PID, err)
	}
	return nil
}

func end(r Record, grace time.Duration) error {
	// A signal to the file descriptor cannot meet a later owner of the id.
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// A leader that is a zombie already may have threads that still end, and
	// process 1 of a namespace ends with all the others: it is waited for too.
	if start, err := startOf(r.PID); err != nil || start != r.Start {
		return nil // gone, and the id perhaps another's
	}
	for _, try := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, 10 * time.Second}} {
		err := unix.PidfdSendSignal(fd, try.signal, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		gone, err := waitFor(fd, try.wait)
		if err != nil {
			return err
		}
		if gone {
			reap(r.PID)
			return nil
		}
	}
	return errors.New("still there after SIGKILL: it hangs in the kernel; see its state in /proc")
}

// waitFor the end of a process, which makes its descriptor readable.
func waitFor(fd int, limit time.Duration) (bool, error) {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(left, 0).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, err
	}
}

// reap the process if it is our child; else its parent does.
func reap(pid int) {
	var status unix.WaitStatus
	_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil)
}
