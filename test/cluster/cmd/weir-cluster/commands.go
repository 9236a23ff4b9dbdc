// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/test/cluster/harness"
	"github.com/weirnet/weir/test/cluster/image"
	"github.com/weirnet/weir/test/cluster/layout"
)

const upLimit = 3 * time.Minute

func up(s *layout.Settings) *cobra.Command {
	source := "."
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, and print the path of its kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			err = harness.Up(cmd.Context(), harness.Options{Settings: *s, Source: source, Self: self, Limit: upLimit, Progress: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), s.Kubeconfig("admin"))
			return nil
		},
	}
	c.Flags().StringVar(&source, "source", source, "folder of the harness's Go module")
	c.Flags().StringVar(&s.CNI, "cni", s.CNI, "ptp or bridge")
	c.Flags().StringVar(&s.Proxy, "proxy", s.Proxy, "mode of kube-proxy: nftables or iptables")
	c.Flags().StringVar(&s.Families, "families", s.Families, "addresses of pods and Services: dual or ipv4")
	c.Flags().IntVar(&s.Nodes, "nodes", s.Nodes, "how many nodes")
	return c
}

func down(s *layout.Settings) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove all of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return harness.Down(cmd.Context(), *s) },
	}
}

func status(s *layout.Settings) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the cluster's processes; exit code 1 if one is missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			current, err := inspect(s)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s, kube-proxy %s, %s\n", current.Settings.CNI, current.Settings.Proxy, current.Settings.Families)
			fmt.Fprintf(out, "kubeconfig %s\n", current.Settings.Kubeconfig("admin"))
			for _, p := range current.Processes {
				state := "ended"
				if p.Running() {
					state = "runs"
				}
				fmt.Fprintf(out, "%-14s process %-8d %-6s %s\n", p.Name, p.PID, state, current.Settings.Log(p.Name))
			}
			if !current.Whole() {
				return errors.New("the cluster is not whole; weir-cluster up starts it anew")
			}
			return nil
		},
	}
}

func load(s *layout.Settings) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE...",
		Short: "Import image archives (tar, Docker's or OCI's format) into every node",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			current, err := inspect(s)
			if err != nil {
				return err
			}
			return current.Load(cmd.Context(), files...)
		},
	}
}

func execute(s *layout.Settings) *cobra.Command {
	return &cobra.Command{
		Use:   "exec NODE -- COMMAND...",
		Short: "Run a command in a node (n1, n2, ...) or in control-plane",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			current, err := inspect(s)
			if err != nil {
				return err
			}
			streams := harness.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
			return current.Exec(cmd.Context(), args[0], streams, args[1:]...)
		},
	}
}

func freeze(s *layout.Settings, use, short string, act func(harness.Status) error) *cobra.Command {
	return &cobra.Command{
		Use:       use + " control-plane",
		Short:     short,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"control-plane"},
		RunE: func(*cobra.Command, []string) error {
			current, err := inspect(s)
			if err != nil {
				return err
			}
			return act(current)
		},
	}
}

func reboot(s *layout.Settings) *cobra.Command {
	return &cobra.Command{
		Use:   "reboot NODE",
		Short: "End a node with all that it is in the kernel, and start it anew with its disk",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return harness.Reboot(cmd.Context(), harness.Options{Settings: *s, Self: self, Limit: upLimit, Progress: cmd.ErrOrStderr()}, args[0])
		},
	}
}

func makeImage() *cobra.Command {
	var archive, tag string
	c := &cobra.Command{
		Use:   "image FILE...",
		Short: "Write an image of static programs, the first of them its entry point, as an archive for load",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, programs []string) error {
			d := image.Description{Tag: tag, Entrypoint: []string{"/" + path.Base(programs[0])}}
			for _, program := range programs {
				d.Files = append(d.Files, image.File{Source: program, Path: "/" + filepath.Base(program)})
			}
			return image.Write(archive, d)
		},
	}
	c.Flags().StringVar(&archive, "output", "image.tar", "the archive")
	c.Flags().StringVar(&tag, "tag", "weir.test/image:1", "the image's name and tag")
	return c
}

func inspect(s *layout.Settings) (harness.Status, error) {
	current, err := harness.Inspect(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return current, fmt.Errorf("no cluster in %s; weir-cluster up starts one", s.State)
	}
	return current, err
}
