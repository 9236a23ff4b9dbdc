// SPDX-License-Identifier: Apache-2.0

// Command weir-cluster is a Kubernetes cluster on this machine, for tests: up,
// down, status, load, exec. See package harness.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/test/cluster/harness"
	"github.com/weirnet/weir/test/cluster/layout"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) { // of a command in a node, which has told its own story
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "weir-cluster:", err)
	os.Exit(1)
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "weir-cluster",
		Short:         "A Kubernetes cluster on this machine, for tests (root)",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	settings := layout.Defaults()
	c.PersistentFlags().StringVar(&settings.State, "state", settings.State, "folder of the cluster; it is removed with it")
	c.AddCommand(up(&settings), down(&settings), status(&settings), load(&settings), execute(&settings), reboot(&settings),
		freeze(&settings, "freeze", "Stop the control plane's process, which keeps its connections and says nothing", harness.Status.Freeze),
		freeze(&settings, "thaw", "Let the control plane go on", harness.Status.Thaw),
		makeImage(), serveAPI(&settings), runNode(), runControlPlane())
	return c
}
