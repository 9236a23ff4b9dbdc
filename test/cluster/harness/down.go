// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/weirnet/weir/test/cluster/cgroup"
	"github.com/weirnet/weir/test/cluster/layout"
	"github.com/weirnet/weir/test/cluster/process"
)

const (
	endGrace   = 5 * time.Second
	groupLimit = 10 * time.Second
)

// Down ends the cluster and removes all of it. It is no error if there is none.
func Down(_ context.Context, s layout.Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	unlock, err := lock(s)
	if err != nil {
		return err
	}
	defer unlock()
	if err := remove(s); err != nil {
		return err
	}
	return os.Remove(s.State)
}

// remove all but the state folder itself, which carries the lock. What could
// not be ended keeps its record, so that the next try finds it.
func remove(s layout.Settings) error {
	if err := stopAll(s); err != nil {
		return err
	}
	if err := errors.Join(removeHostLink(), cgroup.Remove(time.Now().Add(groupLimit))); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.State)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(s.State+"/"+e.Name()))
	}
	return errors.Join(errs...)
}

// stopAll processes at once. The end of a node's first process is the end of
// all its processes.
func stopAll(s layout.Settings) error {
	folder := process.Folder(s.Processes())
	records, err := folder.All()
	errs := make([]error, len(records)+1)
	errs[len(records)] = err
	var wait sync.WaitGroup
	for i, r := range records {
		wait.Go(func() { errs[i] = folder.Stop(r, endGrace) })
	}
	wait.Wait()
	return errors.Join(errs...)
}
