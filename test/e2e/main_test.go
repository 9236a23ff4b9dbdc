// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const agentsLimit = 2 * time.Minute

var (
	kubeconfig = flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "cluster to test")
	install    = flag.String("install", "", "manifests of weir to apply first, in mode enforce; empty: weir is there")
	without    = flag.Bool("without-weir", false, "control run on a cluster without weir: what policy denies must pass, or the tests prove nothing")
	viewers    = flag.String("viewers", "", "manifests of weir with viewers, rendered with viewers.yaml; empty: tests of viewers skip")
	weir       = flag.String("weir", "", "path of the command weir; empty: tests of it skip")
	other      = flag.String("other", "", "image of weir with other layouts of its maps, on every node; empty: a rolling update begins the same image again")
	dns        = flag.String("dns", "", "manifests of the cluster's DNS to apply first; empty: it is there, or tests of it skip")
	machine    = flag.String("machine", "", "path of weir-cluster, if it is its cluster; else tests that need more than the API skip")
	daemonSet  = flag.String("agents", "weir-system/weir-agent", "namespace and name of the agents' DaemonSet")
)

// Set before the first test.
var (
	cluster *Cluster
	agents  *Agents
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func prepare(ctx context.Context) error {
	if *kubeconfig == "" {
		return fmt.Errorf("no cluster: set KUBECONFIG, or --kubeconfig; make cluster starts one")
	}
	var err error
	if cluster, err = Connect(ctx, *kubeconfig); err != nil {
		return err
	}
	namespace, name, ok := strings.Cut(*daemonSet, "/")
	if !ok {
		return fmt.Errorf("--agents is %q; give NAMESPACE/NAME", *daemonSet)
	}
	agents = &Agents{Namespace: namespace, Name: name, cluster: cluster}
	if *dns != "" {
		if err := cluster.Install(ctx, *dns); err != nil {
			return err
		}
	}
	found, err := cluster.HasAgents(ctx, namespace, name)
	switch {
	case err != nil:
		return err
	case *without && found:
		return fmt.Errorf("control run without weir, but the cluster has %s; take a fresh cluster", *daemonSet)
	case *without:
		return nil
	case *install != "":
		if err := cluster.Install(ctx, *install); err != nil {
			return err
		}
	}
	return cluster.AgentsReady(ctx, namespace, name, agentsLimit)
}

// denial is what a call gives that policy denies: in the control run it passes.
func denial() Verdict {
	if *without {
		return Passed
	}
	return Denied
}

// nodes' machine, or a skip.
func needMachine(t *testing.T) Machine {
	t.Helper()
	if *machine == "" {
		t.Skip("needs power over the nodes: --machine names the program weir-cluster")
	}
	return Machine(*machine)
}

// needWeir skips what a control run cannot do.
func needWeir(t *testing.T) {
	t.Helper()
	if *without {
		t.Skip("control run: there is no weir to act on")
	}
}
