// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/cluster/binaries"
	"github.com/weirnet/weir/test/cluster/cgroup"
	"github.com/weirnet/weir/test/cluster/layout"
	"github.com/weirnet/weir/test/cluster/pki"
	"github.com/weirnet/weir/test/cluster/process"
)

// Options of bringing a cluster up.
type Options struct {
	Settings layout.Settings
	Source   string        // folder of the harness's module
	Self     string        // the program weir-cluster, which nodes run first
	Limit    time.Duration // from the first process until all nodes are ready
	Progress io.Writer
}

// Up brings a cluster up and returns when its nodes are ready and pods can be
// made. A cluster that runs with the same settings is left as it is; remains
// of one that died are removed first. After an error no process is left, but
// the state folder with its logs is, until the next Up or Down.
func Up(ctx context.Context, o Options) error {
	if err := o.Settings.Validate(); err != nil {
		return err
	}
	unlock, err := lock(o.Settings)
	if err != nil {
		return err
	}
	defer unlock()
	runs, err := alreadyRuns(o.Settings)
	if err != nil || runs {
		return err
	}
	if err := remove(o.Settings); err != nil {
		return fmt.Errorf("remove what a former cluster left: %w", err)
	}
	cache, err := binaries.CacheRoot()
	if err != nil {
		return err
	}
	build, err := binaries.Ensure(ctx, o.Source, cache, o.Progress)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := bringUp(ctx, o, build); err != nil {
		return errors.Join(err, stopAll(o.Settings), removeHostLink())
	}
	fmt.Fprintf(o.Progress, "cluster of %d nodes (%s, kube-proxy %s, %s) ready after %.1f s\n",
		o.Settings.Nodes, o.Settings.CNI, o.Settings.Proxy, o.Settings.Families, time.Since(begin).Seconds())
	return nil
}

// alreadyRuns looks for a whole cluster with these settings.
func alreadyRuns(s layout.Settings) (bool, error) {
	current, err := Inspect(s.State)
	if err != nil || !current.Whole() {
		return false, nil // nothing, or remains
	}
	if current.Settings != s {
		return false, fmt.Errorf("a cluster with other settings runs (%+v); make cluster-down ends it", current.Settings)
	}
	return true, nil
}

func bringUp(ctx context.Context, o Options, build binaries.Build) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the cluster was not ready within %s", o.Limit))
	defer cancel()
	s := o.Settings
	if err := writeSettings(s); err != nil {
		return err
	}
	if err := pki.Make(s, time.Now()); err != nil {
		return err
	}
	var groups []string
	for _, n := range s.AllNodes() {
		groups = append(groups, n.Name())
	}
	if err := cgroup.Make(groups...); err != nil {
		return err
	}
	plane, err := startControl(o, build)
	if err != nil {
		return err
	}
	defer plane.close()
	api, err := connectAPI(s)
	if err != nil {
		return err
	}
	if err := api.awaitReady(ctx, s); err != nil {
		return err
	}
	if err := startNodes(ctx, o, build, plane, api); err != nil {
		return err
	}
	if err := api.awaitNodes(ctx, s); err != nil {
		return err
	}
	return api.awaitServiceAccount(ctx, s)
}

func writeSettings(s layout.Settings) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.File(), append(raw, '\n'), 0o644)
}

func startControl(o Options, build binaries.Build) (*space, error) {
	s := o.Settings
	started, err := process.Folder(s.Processes()).Start(process.Command{
		Name: "control-plane", Path: o.Self, Log: s.Log("control-plane"),
		Args:    []string{"run-control-plane", build.Kubernetes(), s.File()},
		Unshare: unix.CLONE_NEWNET,
	})
	if err != nil {
		return nil, err
	}
	plane, err := openSpace(started.PID)
	if err == nil {
		if err = connectControl(plane, s.DualStack()); err != nil {
			plane.close()
		}
	}
	return plane, errors.Join(err, started.Release())
}

func startNodes(ctx context.Context, o Options, build binaries.Build, plane *space, api *api) error {
	spaces := make(map[layout.Node]*space)
	defer func() { closeAll(spaces) }()
	for _, n := range o.Settings.AllNodes() {
		if err := api.createNode(ctx, n); err != nil {
			return err
		}
		if err := startNode(o, build, plane, n, spaces); err != nil {
			return err
		}
	}
	return nil
}

// startNode and link it to the control plane and the others, to which it is
// added.
func startNode(o Options, build binaries.Build, plane *space, n layout.Node, others map[layout.Node]*space) error {
	args := append([]string{"run-node", o.Settings.File(), fmt.Sprint(n.Index), build.Kubernetes()}, build.Images()...)
	started, err := process.Folder(o.Settings.Processes()).Start(process.Command{
		Name: n.Name(), Path: o.Self, Log: o.Settings.Log(n.Name()), Args: args,
		Unshare: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	})
	if err != nil {
		return err
	}
	own, err := openSpace(started.PID)
	if err == nil {
		err = connectNode(plane, n, own, others)
		others[n] = own
	}
	return errors.Join(err, started.Release())
}

// lock the state folder against a second command. The lock is the folder's
// own, and goes with it.
func lock(s layout.Settings) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Clean(s.State), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(s.State)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another weir-cluster works on %s; wait for its end", s.State)
		}
		return nil, fmt.Errorf("lock %s: %w", s.State, err)
	}
	return func() { dir.Close() }, nil
}
