// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// stage is one variant's node.
type stage struct {
	variant variant
	bin     string
	node    *netns.Node
	folder  string
	ends    *ends
	agent   *node.Agent
	// opened are programs, their links and the reader of their events.
	opened []io.Closer
	// transactions of a run, by workload.
	transactions map[string]int
}

const nodeName = "node-a"

func newStage(ctx context.Context, o Options, v variant, w netns.Wiring, number int) (s *stage, err error) {
	s = &stage{variant: v, bin: o.binOf(v)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", v.name, err), s.close())
		}
	}()
	if s.node, err = netns.NewNode(fmt.Sprintf("wbt%d", number), netns.Options{Wiring: w}); err != nil {
		return s, err
	}
	if s.folder, err = os.MkdirTemp("", fmt.Sprintf("weir-wbt%d-", number)); err != nil {
		return s, err
	}
	client, err := s.node.AddPod("client", clientAddr)
	if err != nil {
		return s, err
	}
	server, err := s.node.AddPod("server", serverAddr)
	if err != nil {
		return s, err
	}
	// A client opens more connections than there are ports, if each is kept
	// for a minute after its end.
	err = errors.Join(client.Sysctl("net/ipv4/tcp_tw_reuse", "1"), client.Sysctl("net/ipv4/ip_local_port_range", "1024 65000"))
	if err != nil {
		return s, err
	}
	if v.once != nil {
		if err := v.once(ctx, s); err != nil {
			return s, err
		}
	}
	called := serverAddr
	if v.service {
		called = serviceAddr
	}
	s.ends, err = startEnds(client, server, called, filepath.Join(s.folder, "bursts"))
	return s, err
}

func translate(_ context.Context, s *stage) error { return translation(s.node) }

func prepareAgent(ctx context.Context, s *stage) error {
	if s.variant.service {
		if err := translate(ctx, s); err != nil {
			return err
		}
	}
	var err error
	if s.agent, err = node.NewAgent(s.bin, s.folder, nodeName, s.node); err != nil {
		return err
	}
	var log strings.Builder
	s.agent.Output = io.Writer(&log)
	if err := s.agent.Replace("manifests/cluster.yaml", cluster()); err != nil {
		return err
	}
	if err := s.agent.Start(); err != nil {
		return err
	}
	if err := s.agent.WaitReady(ctx, time.Minute); err != nil {
		return fmt.Errorf("%w: %s", err, &log)
	}
	return nil
}

func cluster() string {
	pod := func(name string, addr netip.Addr) node.Pod {
		return node.Pod{Namespace: "shop", Name: name, Labels: "app: " + name, Addrs: []netip.Addr{addr}}
	}
	return node.Manifest(nodeName, []string{"shop"}, []node.Pod{pod("client", clientAddr), pod("server", serverAddr)}) +
		fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {namespace: shop, name: server}
spec:
  clusterIPs: [%[1]q]
  selector: {app: server}
  ports: [{name: a, protocol: TCP, port: %[2]d}, {name: b, protocol: TCP, port: %[3]d}, {name: c, protocol: UDP, port: %[4]d}]
`, serviceAddr, portRequest, portConnect, portOneWay)
}

// weirPolicies that select both pods in both directions. All but the last
// allow strangers.
func (s *stage) weirPolicies(n int) error {
	var b strings.Builder
	for i := range n {
		peer := fmt.Sprintf("{ipBlock: {cidr: %s/32}}", stranger(i))
		if i == n-1 {
			peer = "{podSelector: {}}"
		}
		ports := fmt.Sprintf("[{protocol: TCP, port: %[1]d, endPort: %[2]d}, {protocol: UDP, port: %[1]d, endPort: %[2]d}]", portRequest, portOneWay)
		fmt.Fprintf(&b, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: policy-%[1]d}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [%[2]s], ports: %[3]s}]
  egress: [{to: [%[2]s], ports: %[3]s}]
---
`, i, peer, ports)
	}
	if err := s.agent.Replace("manifests/policies.yaml", b.String()); err != nil {
		return err
	}
	var out []byte
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out, err = s.agent.Weir("policy", "show", fmt.Sprintf("shop/policy-%d", n-1)).CombinedOutput()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("weir does not know policy-%d after a minute: %w: %s", n-1, err, out)
}

func (s *stage) close() error {
	var errs []error
	if s.ends != nil {
		errs = append(errs, s.ends.close())
	}
	if s.agent != nil {
		errs = append(errs, s.agent.Close())
	}
	for _, c := range slices.Backward(s.opened) {
		errs = append(errs, c.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}
