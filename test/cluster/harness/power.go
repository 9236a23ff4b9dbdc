// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/cluster/binaries"
	"github.com/weirnet/weir/test/cluster/layout"
	"github.com/weirnet/weir/test/cluster/process"
)

// Freeze the control plane: it keeps its connections and its links, and says
// nothing.
func (s Status) Freeze() error { return s.signalControl(unix.SIGSTOP) }

// Thaw what Freeze stopped.
func (s Status) Thaw() error { return s.signalControl(unix.SIGCONT) }

func (s Status) signalControl(signal unix.Signal) error {
	record, err := process.Folder(s.Settings.Processes()).Get("control-plane")
	if err != nil {
		return err
	}
	return record.Signal(signal)
}

// Reboot a node: it ends with all its processes, mounts, links and BPF objects,
// and starts anew with its disk. Of the options, the settings but for the state
// folder and the source are those of the cluster.
func Reboot(ctx context.Context, o Options, name string) error {
	unlock, err := lock(o.Settings)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := Inspect(o.Settings.State)
	if err != nil {
		return err
	}
	o.Settings = current.Settings
	build, err := current.build()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the node was not ready within %s", o.Limit))
	defer cancel()
	spaces, plane, err := openSpaces(current)
	if err != nil {
		return err
	}
	defer plane.close()
	defer closeAll(spaces)
	for _, n := range o.Settings.AllNodes() {
		if n.Name() != name {
			continue
		}
		spaces[n].close()
		delete(spaces, n)
		return rebootNode(ctx, o, build, plane, n, spaces)
	}
	return fmt.Errorf("no node %s; the cluster has n1 to n%d", name, o.Settings.Nodes)
}

func rebootNode(ctx context.Context, o Options, build binaries.Build, plane *space, n layout.Node, others map[layout.Node]*space) error {
	folder := process.Folder(o.Settings.Processes())
	record, err := folder.Get(n.Name())
	if err != nil {
		return err
	}
	api, err := connectAPI(o.Settings)
	if err != nil {
		return err
	}
	if err := folder.Stop(record, endGrace); err != nil {
		return err
	}
	// The link goes by itself some time after the node's namespace.
	if err := plane.remove(n.Port()); err != nil {
		return err
	}
	began := time.Now()
	if err := startNode(o, build, plane, n, others); err != nil {
		return err
	}
	return api.awaitBeat(ctx, o.Settings, n, began)
}

// build that the cluster runs, by the program that its control plane is.
func (s Status) build() (binaries.Build, error) {
	record, err := process.Folder(s.Settings.Processes()).Get("control-plane")
	if err != nil {
		return "", err
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", record.PID))
	return binaries.Build(filepath.Dir(program)), err
}

// openSpaces of a cluster that runs.
func openSpaces(s Status) (map[layout.Node]*space, *space, error) {
	folder := process.Folder(s.Settings.Processes())
	record, err := folder.Get("control-plane")
	if err != nil {
		return nil, nil, err
	}
	plane, err := openSpace(record.PID)
	if err != nil {
		return nil, nil, err
	}
	spaces := make(map[layout.Node]*space)
	for _, n := range s.Settings.AllNodes() {
		record, err := folder.Get(n.Name())
		if err == nil {
			spaces[n], err = openSpace(record.PID)
		}
		if err != nil {
			closeAll(spaces)
			plane.close()
			return nil, nil, fmt.Errorf("node %s: %w", n.Name(), err)
		}
	}
	return spaces, plane, nil
}

func closeAll(spaces map[layout.Node]*space) {
	for _, s := range spaces {
		if s != nil {
			s.close()
		}
	}
}
