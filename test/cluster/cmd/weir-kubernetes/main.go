// SPDX-License-Identifier: Apache-2.0

// Command weir-kubernetes is all of Kubernetes that a cluster of the harness
// runs, in one program: control-plane (or api-server, which is etcd and the API
// server alone), kubelet, kube-proxy. weir-cluster starts it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/weirnet/weir/test/cluster/control"
	"github.com/weirnet/weir/test/cluster/layout"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: weir-kubernetes control-plane SETTINGS | api-server SETTINGS | kubelet FLAGS | kube-proxy FLAGS"))
	}
	part := os.Args[1]
	// Each component reads os.Args itself and takes the first for its name.
	os.Args = append([]string{part}, os.Args[2:]...)
	switch part {
	case "control-plane":
		if err := controlPlane(os.Args[1:], control.Whole); err != nil {
			fail(err)
		}
	case "api-server":
		if err := controlPlane(os.Args[1:], control.Alone); err != nil {
			fail(err)
		}
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	default:
		fail(fmt.Errorf("unknown part %q; it may be control-plane, api-server, kubelet or kube-proxy", part))
	}
}

// controlPlane runs for the settings in a file, as weir-cluster writes it.
func controlPlane(args []string, parts control.Parts) error {
	if len(args) != 1 {
		return fmt.Errorf("the control plane takes one argument, the file of settings; got %d", len(args))
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var settings layout.Settings
	if err := json.Unmarshal(raw, &settings); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return control.Run(ctx, settings, parts)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "weir-kubernetes:", err)
	os.Exit(1)
}
