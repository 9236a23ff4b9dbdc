// SPDX-License-Identifier: Apache-2.0

// Command agnhost is the program of Kubernetes' test image of that name, cut to
// what suites of NetworkPolicy use: smaller, so faster to start in a pod.
package main

import (
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/test/images/agnhost/connect"
	"k8s.io/kubernetes/test/images/agnhost/liveness"
	"k8s.io/kubernetes/test/images/agnhost/netexec"
	"k8s.io/kubernetes/test/images/agnhost/pause"
	"k8s.io/kubernetes/test/images/agnhost/porter"
	servehostname "k8s.io/kubernetes/test/images/agnhost/serve-hostname"
)

const protocolSCTP = 132

func main() {
	porter.CmdPorter.Run = withoutSCTP(porter.CmdPorter.Run)
	root := &cobra.Command{Use: "agnhost", Version: "2.59"}
	root.AddCommand(connect.CmdConnect, liveness.CmdLiveness, netexec.CmdNetexec, pause.CmdPause, porter.CmdPorter, servehostname.CmdServeHostname)
	os.Exit(cli.Run(root))
}

// withoutSCTP drops the SCTP listeners where the kernel has no SCTP sockets.
// The upstream suite asks for one in every pod, and the program would end;
// then no other protocol could be tested either.
func withoutSCTP(run func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(command *cobra.Command, args []string) {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, protocolSCTP)
		if err == nil {
			syscall.Close(fd)
			run(command, args)
			return
		}
		for _, variable := range os.Environ() {
			if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "SERVE_SCTP_PORT_") {
				os.Unsetenv(name)
			}
		}
		run(command, args)
	}
}
