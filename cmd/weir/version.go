// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/cmd/weir/output"
)

func newVersion(s *session, name string) *cobra.Command {
	var clientOnly bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Shows the versions of this program and of the agent",
		Example: examples(name, "version", "version --client"),
		Args:    positional(cobra.NoArgs, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(s.out, "weir        %s\n", buildVersion(debug.ReadBuildInfo()))
			if err != nil || clientOnly {
				return err
			}
			var answer *pb.StatusResponse
			err = s.call(c.Context(), "", func(ctx context.Context, agent *client.Client) (err error) {
				answer, err = agent.Agent.Status(ctx, &pb.StatusRequest{})
				return err
			})
			if err != nil {
				return fmt.Errorf("version of the agent: %w; --client asks for none", err)
			}
			_, err = fmt.Fprintf(s.out, "weir-agent  %s on %s\n", output.Escape(answer.GetVersion()), output.Escape(answer.GetNode()))
			return err
		},
	}
	c.Flags().BoolVar(&clientOnly, "client", false, "of this program alone, without asking the agent")
	return c
}

// buildVersion is what the go command stamped into the binary.
func buildVersion(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			version += " " + setting.Value
		}
		if setting.Key == "vcs.modified" && setting.Value == "true" {
			version += " modified"
		}
	}
	return version + ", " + info.GoVersion
}
