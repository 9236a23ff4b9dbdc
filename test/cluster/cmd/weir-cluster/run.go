// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/test/cluster/birth"
	"github.com/weirnet/weir/test/cluster/layout"
	"github.com/weirnet/weir/test/cluster/node"
)

// runNode is what up starts as process 1 of a node.
func runNode() *cobra.Command {
	return &cobra.Command{
		Use:    "run-node SETTINGS INDEX KUBERNETES IMAGE...",
		Hidden: true,
		Args:   cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := readSettings(args[0])
			if err != nil {
				return err
			}
			index, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			return node.Run(cmd.Context(), node.Options{
				Node:       layout.Node{Index: index, Settings: settings},
				Kubernetes: args[2],
				Images:     args[3:],
			})
		},
	}
}

// runControlPlane is what up starts in the control plane's namespace. It turns
// into the control plane when its links are there.
func runControlPlane() *cobra.Command {
	return &cobra.Command{
		Use:    "run-control-plane KUBERNETES SETTINGS",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := birth.AwaitLinks(layout.ControlLink); err != nil {
				return err
			}
			if err := birth.SetSysctls(); err != nil {
				return err
			}
			err := syscall.Exec(args[0], []string{args[0], "control-plane", args[1]}, os.Environ())
			return fmt.Errorf("start %s: %w", args[0], err)
		},
	}
}

func readSettings(file string) (layout.Settings, error) {
	var s layout.Settings
	raw, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", file, err)
	}
	return s, s.Validate()
}
