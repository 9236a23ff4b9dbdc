// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/test/cluster/harness"
	"github.com/weirnet/weir/test/cluster/layout"
)

// serveAPI turns into the API server, so that whoever started this command has
// its process.
func serveAPI(s *layout.Settings) *cobra.Command {
	source := "."
	c := &cobra.Command{
		Use:   "api-server",
		Short: "Be etcd and an API server without a cluster, in this network namespace, with a --state folder that does not exist yet",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			command, err := harness.PrepareAPI(cmd.Context(), harness.Options{Settings: *s, Source: source, Progress: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			err = syscall.Exec(command[0], command, os.Environ())
			return fmt.Errorf("start %s: %w", command[0], err)
		},
	}
	c.Flags().StringVar(&source, "source", source, "folder of the harness's Go module")
	return c
}
