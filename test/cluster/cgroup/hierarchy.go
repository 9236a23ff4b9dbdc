// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Root is the folder's name in each hierarchy.
const Root = "weir-cluster"

// hierarchies are the mount points of all control groups: several on a
// machine of version 1, one on a machine of version 2.
func hierarchies(mountinfo string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		kind, _, _ := strings.Cut(right, " ")
		if !ok || len(fields) < 5 || (kind != "cgroup" && kind != "cgroup2") {
			continue
		}
		points = append(points, fields[4])
	}
	return points
}

func mounted() ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	points := hierarchies(string(raw))
	if len(points) == 0 {
		return nil, errors.New("no control groups are mounted; mount them at /sys/fs/cgroup")
	}
	return points, nil
}

// Make the group of each name below Root in every hierarchy.
func Make(names ...string) error {
	points, err := mounted()
	if err != nil {
		return err
	}
	for _, point := range points {
		if err := makeGroup(point, Root); err != nil {
			return err
		}
		for _, name := range names {
			if err := makeGroup(point, filepath.Join(Root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeGroup fills what a new group lacks: in version 1 a cpuset is empty and
// takes no process until it is told CPUs and memory nodes; in version 2 a
// group has the controllers that its parent hands down.
func makeGroup(point, group string) error {
	path := filepath.Join(point, group)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	parent := filepath.Dir(path)
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, file), value, 0o644); err != nil {
			return fmt.Errorf("set %s of %s: %w", file, path, err)
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return nil // version 1
	}
	for _, name := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
			return fmt.Errorf("hand controller %s down to %s: %w", name, path, err)
		}
	}
	return nil
}

// Remove every group below Root, and Root. Processes that are being killed
// keep theirs for a moment; those that are still there at the deadline are an
// error.
func Remove(deadline time.Time) error {
	points, err := mounted()
	if err != nil {
		return err
	}
	var errs []error
	for _, point := range points {
		errs = append(errs, removeTree(filepath.Join(point, Root), deadline))
	}
	return errors.Join(errs...)
}

func removeTree(path string, deadline time.Time) error {
	for {
		err := removeOnce(path)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond) // the kernel tells nobody that a group has become empty
	}
}

// removeOnce goes from the leaves up. The files in a group are no entries that
// one could remove.
func removeOnce(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeOnce(filepath.Join(path, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}
