// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

const (
	nextAgentLimit = 90 * time.Second
	updateLimit    = 3 * time.Minute
	awayTime       = 10 * time.Second // of the API server
	metricsAddress = "127.0.0.1:9965" // of the agents, as install.yaml has it
)

// Nothing happens, which must look like it: this is also the control run's row.
func TestTraffic(t *testing.T) {
	newStage(t).during(t, func() error {
		sleep(t.Context(), 5*time.Second)
		return nil
	})
}

// The agent's pod is deleted without grace, on each node.
func TestAgentPodDeleted(t *testing.T) {
	needWeir(t)
	newStage(t).during(t, func() error {
		for _, n := range cluster.Nodes[:2] {
			if err := agents.Kill(t.Context(), n, nextAgentLimit); err != nil {
				return err
			}
		}
		return nil
	})
}

// The agent's process is killed, on each node.
func TestAgentProcessKilled(t *testing.T) {
	needWeir(t)
	m := needMachine(t)
	newStage(t).during(t, func() error {
		for _, n := range cluster.Nodes[:2] {
			before, err := agents.On(t.Context(), n)
			if err != nil {
				return err
			}
			if _, err := m.Exec(t.Context(), n.Name, "sh", "-c", "kill -9 $(pidof weir-agent)"); err != nil {
				return err
			}
			if err := agents.AwaitNext(t.Context(), n, before, nextAgentLimit); err != nil {
				return err
			}
		}
		return nil
	})
}

// To weir with other layouts of its maps and back, node by node.
func TestRollingUpdate(t *testing.T) {
	needWeir(t)
	updates := []string{
		`{"spec": {"template": {"metadata": {"annotations": {"weir-e2e": "1"}}}}}`,
		`{"spec": {"template": {"metadata": {"annotations": {"weir-e2e": null}}}}}`,
	}
	if *other != "" {
		container, image, err := agents.Image(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, to := range []string{*other, image} {
			updates[i] = fmt.Sprintf(`{"spec": {"template": {"spec": {"containers": [{"name": %q, "image": %q}]}}}}`, container, to)
		}
	} else {
		t.Log("no -other: to the same image and back")
	}
	newStage(t).during(t, func() error {
		for _, patch := range updates {
			if err := agents.Patch(t.Context(), patch, updateLimit); err != nil {
				return err
			}
		}
		return nil
	})
}

// The API server is away, once silent and once refusing: enforcement goes on,
// the agents stay ready, and a change after its return takes effect.
func TestAPIServerAway(t *testing.T) {
	needWeir(t)
	m := needMachine(t)
	const refuse = "nft add table inet away && nft add chain inet away in '{type filter hook input priority 0;}' && nft add rule inet away in tcp dport 6443 reject with tcp reset"
	rows := []struct {
		name        string
		away, again func(context.Context) error
	}{
		{"silent",
			func(ctx context.Context) error { return m.Freeze(ctx, "control-plane") },
			func(ctx context.Context) error { return m.Thaw(ctx, "control-plane") }},
		{"refusing",
			func(ctx context.Context) error { return onControlPlane(ctx, m, refuse) },
			func(ctx context.Context) error { return onControlPlane(ctx, m, "nft delete table inet away") }},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := newStage(t)
			s.during(t, func() error {
				if err := r.away(t.Context()); err != nil {
					return err
				}
				err := stayReady(t.Context(), m)
				// Whatever happened, the cluster is needed again.
				err = errors.Join(err, r.again(context.WithoutCancel(t.Context())))
				return errors.Join(err, cluster.Reread(t.Context(), apiLimit))
			})
			s.namespace.Policy("strangers", `{podSelector: {matchLabels: {role: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: stranger}}}]}]}`)
			expectAll(t, s.strangers[0], s.servers[1].trafficTargets(), Passed)
		})
	}
}

func onControlPlane(ctx context.Context, m Machine, command string) error {
	_, err := m.Exec(ctx, "control-plane", "sh", "-c", command)
	return err
}

// stayReady for the time that the API server is away.
func stayReady(ctx context.Context, m Machine) error {
	for end := time.Now().Add(awayTime); time.Now().Before(end); {
		for _, n := range cluster.Nodes[:2] {
			if _, err := m.Get(ctx, n.Name, "http://"+metricsAddress+"/readyz"); err != nil {
				return fmt.Errorf("agent on %s without API server: %w", n.Name, err)
			}
		}
		if !sleep(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}
