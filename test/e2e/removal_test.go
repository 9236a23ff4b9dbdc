// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

// Where weir's things are on a node, as install.yaml has it.
const (
	pluginInLists = "grep -l weir-cni /etc/cni/net.d/*.conflist"
	pluginItself  = "ls /opt/cni/bin/weir-cni"
	pins          = "ls -d /sys/fs/bpf/weir"
)

// weir is deleted: each agent takes the CNI plugin away as it ends, and policy
// stays in force as it was. cleanup.yaml takes all of the rest; then everything
// passes, and new pods start. Afterwards weir is installed again.
func TestRemoval(t *testing.T) {
	needWeir(t)
	m := needMachine(t)
	if *install == "" {
		t.Skip("removes weir, which it did not install: --install names the manifests")
	}
	cleanup := filepath.Join(filepath.Dir(*install), "cleanup.yaml")
	n := cluster.Namespace(t)
	n.Policy("friends", `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`)
	server := n.StartTraffic("server", PodOptions{Node: cluster.Nodes[0]})
	stranger := n.StartTraffic("stranger", PodOptions{Node: cluster.Nodes[1]})
	server.AwaitReady()
	stranger.AwaitReady()
	expectAll(t, stranger, server.trafficTargets(), Denied)
	t.Cleanup(func() { reinstall(t, cleanup) })

	if err := cluster.Remove(t.Context(), *install, updateLimit); err != nil {
		t.Fatal(err)
	}
	for _, node := range cluster.Nodes {
		expectOnNode(t, m, node, pluginInLists, false)
		expectOnNode(t, m, node, pins, true)
	}
	expectAll(t, stranger, server.trafficTargets(), Denied)
	n.StartTraffic("later", PodOptions{Node: cluster.Nodes[0]}).AwaitReady()

	if err := cluster.Install(t.Context(), cleanup); err != nil {
		t.Fatal(err)
	}
	if err := cluster.AgentsReady(t.Context(), agents.Namespace, "weir-cleanup", updateLimit); err != nil {
		t.Fatal(err)
	}
	for _, node := range cluster.Nodes {
		for _, thing := range []string{pluginInLists, pluginItself, pins} {
			expectOnNode(t, m, node, thing, false)
		}
	}
	expectAll(t, stranger, server.trafficTargets(), Passed)
	n.StartTraffic("last", PodOptions{Node: cluster.Nodes[0]}).AwaitReady()
}

// expectOnNode that a command finds something, or nothing.
func expectOnNode(t *testing.T, m Machine, n Node, command string, want bool) {
	t.Helper()
	err := poll(t.Context(), settleLimit, func(ctx context.Context) error {
		out, err := m.Exec(ctx, n.Name, "sh", "-c", command)
		if found := err == nil; found != want {
			return fmt.Errorf("%s on node %s: found %t, want %t: %s", command, n.Name, found, want, out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func reinstall(t *testing.T, cleanup string) {
	ctx, cancel := context.WithTimeout(context.Background(), updateLimit)
	defer cancel()
	if err := cluster.Remove(ctx, cleanup, updateLimit); err != nil {
		t.Error(err)
	}
	if err := cluster.Install(ctx, *install); err != nil {
		t.Error(err)
	}
	if err := cluster.AgentsReady(ctx, agents.Namespace, agents.Name, agentsLimit); err != nil {
		t.Error(err)
	}
}
