// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"github.com/weirnet/weir/test/cluster/process"
)

// Load imports image archives into every node.
func (s Status) Load(ctx context.Context, files ...string) error {
	for _, file := range files {
		for _, n := range s.Settings.AllNodes() {
			if err := s.loadInto(ctx, n.Name(), file); err != nil {
				return fmt.Errorf("load %s into %s: %w", file, n.Name(), err)
			}
		}
	}
	return nil
}

func (s Status) loadInto(ctx context.Context, node, file string) error {
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	if info, err := archive.Stat(); err != nil || info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is not a file; give a tar in Docker's or OCI's format", file))
	}
	// By standard input: the node sees other folders than we do.
	return s.Exec(ctx, node, Streams{In: archive, Out: io.Discard, Err: os.Stderr}, "ctr", "-n", "k8s.io", "images", "import", "-")
}

// Streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command in a node, or in the control plane's network namespace
// if the name is control-plane. The command's own exit code is in an
// *exec.ExitError.
func (s Status) Exec(ctx context.Context, name string, streams Streams, command ...string) error {
	record, err := process.Folder(s.Settings.Processes()).Get(name)
	if err != nil {
		return fmt.Errorf("%w; the cluster has control-plane and n1 to n%d", err, s.Settings.Nodes)
	}
	if !record.Running() {
		return fmt.Errorf("%s does not run; see %s", name, s.Settings.Log(name))
	}
	args := []string{"--target", strconv.Itoa(record.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/", "--"}
	nsenter := exec.CommandContext(ctx, "nsenter", append(args, command...)...)
	nsenter.Stdin, nsenter.Stdout, nsenter.Stderr = streams.In, streams.Out, streams.Err
	return nsenter.Run()
}
