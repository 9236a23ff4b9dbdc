// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// endLimit bounds how long killed processes may take to end.
const endLimit = 10 * time.Second

// removeLeft ends the processes that live in namespaces of the stage's name,
// and removes the namespaces. Nobody else makes such, and the lock says that no
// other run does now.
func removeLeft(ctx context.Context) error {
	paths, err := filepath.Glob("/run/netns/" + name + "-*")
	if err != nil {
		return err
	}
	ours := map[uint64]bool{}
	for _, path := range paths {
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		ours[stat.Ino] = true
	}
	if err := endProcesses(ctx, ours); err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, netns.DeleteNamed(filepath.Base(path)))
	}
	return errors.Join(append(errs, os.RemoveAll(pins))...)
}

// endProcesses of network namespaces, by the inodes of these, and wait until
// they are gone.
func endProcesses(ctx context.Context, namespaces map[uint64]bool) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := processesIn(namespaces)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v do not end: %w", left, ctx.Err())
		case <-tick.C:
		}
	}
}

func processesIn(namespaces map[uint64]bool) (list []int, err error) {
	if len(namespaces) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// One that has ended meanwhile, or that cannot be looked at, is not ours.
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &stat); err == nil && namespaces[stat.Ino] {
			list = append(list, pid)
		}
	}
	return list, nil
}
