// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/agent"
)

// version is set by the linker.
var version = "development"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a fault in what the operator asked for.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(os.Args[1:]).ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "weir-agent:", err)
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

func command(args []string) *cobra.Command {
	options := agent.Defaults()
	var config string
	root := &cobra.Command{
		Use:   "weir-agent",
		Short: "Enforce NetworkPolicy on the pods of this node, and show their flows",
		Long: `weir-agent enforces NetworkPolicy on the pods of this node with eBPF and serves
every flow with its verdict on a Unix socket, for the command weir.

Policies and pods come from a directory of manifests, or from the API server of a
cluster: by --kubeconfig, or in a pod by its ServiceAccount.

Options come from flags, from the environment (--state-dir is WEIR_STATE_DIR)
and from a file (the flags' names are its keys), in that order of precedence.
Of a file that changes, modes apply at once; anything else needs a restart.

Exit codes: 0 told to end, 1 failed, 2 unusable options.`,
		Example: `  weir-agent --manifests /etc/weir/manifests
  weir-agent --kubeconfig ~/.kube/config --node node-1
  weir-agent --config /etc/weir/weir.yaml
  weir-agent cleanup`,
		Version:       version,
		Args:          noArguments,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fill(cmd, &options, config); err != nil {
				return err
			}
			if err := options.Validate(); err != nil {
				return usageError{err}
			}
			log := options.Logger()
			log.Info("starting", "version", version, "node", options.Node)
			return agent.Run(cmd.Context(), agent.Setup{
				Options: options,
				Version: version,
				Log:     log,
				Config:  config,
				Reload:  func() (agent.Options, error) { return reload(args, config) },
			})
		},
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&config, "config", "", "file of options, watched for changes")
	options.Flags(root.PersistentFlags())
	var stay bool
	var await string
	cleanup := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every link, filter, pin and map of weir from this node, also of a dead agent",
		Long: `cleanup removes every link, filter, pin and map of weir from this node, also those
of an agent that is gone. Policies are no longer enforced then. It refuses while
an agent runs. With --cni-preset it takes the plugin weir-cni away as well.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fill(cmd, &options, config); err != nil {
				return err
			}
			if await != "" {
				return agent.AwaitCleanup(cmd.Context(), await, version)
			}
			if err := agent.Cleanup(options, options.Logger()); err != nil || !stay {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	cleanup.Flags().BoolVar(&stay, "stay", false, "when all is removed, wait to be told to end, as a pod of a DaemonSet must")
	cleanup.Flags().StringVar(&await, "await", "", "remove nothing here; wait until the DaemonSet namespace/name has done so on every node")
	root.AddCommand(cleanup)
	return root
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown argument %q; weir-agent --help lists commands and flags", args[0])}
	}
	return nil
}

func fill(cmd *cobra.Command, options *agent.Options, config string) error {
	if err := agent.Fill(cmd.Flags(), os.LookupEnv, config); err != nil {
		return usageError{err}
	}
	return nil
}

// reload reads all sources of options once more, as at the start.
func reload(args []string, config string) (agent.Options, error) {
	options := agent.Defaults()
	fresh := &cobra.Command{Use: "weir-agent"}
	fresh.Flags().String("config", "", "")
	options.Flags(fresh.Flags())
	if err := fresh.Flags().Parse(args); err != nil {
		return options, err
	}
	if err := agent.Fill(fresh.Flags(), os.LookupEnv, config); err != nil {
		return options, err
	}
	return options, options.Validate()
}
