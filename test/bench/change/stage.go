// SPDX-License-Identifier: Apache-2.0

package change

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	port     = 9000
	nodeName = "node-a"
	gateFile = "gate.yaml"
)

// stage is a node with many pods; the first sends to the second.
type stage struct {
	node     *netns.Node
	folder   string
	agent    *node.Agent
	sender   net.Conn
	receiver *receiver
}

func newStage(ctx context.Context, o Options) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.node, err = netns.NewNode("wbch", netns.Options{PodPrefix4: netip.MustParsePrefix("10.244.0.0/16")}); err != nil {
		return s, err
	}
	pods, err := s.addPods(ctx, o.Pods)
	if err != nil {
		return s, err
	}
	if s.folder, err = os.MkdirTemp("", "weir-wbch-"); err != nil {
		return s, err
	}
	if s.agent, err = node.NewAgent(o.Bin, s.folder, nodeName, s.node); err != nil {
		return s, err
	}
	err = errors.Join(s.agent.Replace("manifests/cluster.yaml", node.Manifest(nodeName, []string{"shop"}, pods)),
		s.agent.Replace("manifests/others.yaml", others(o.Policies-1)), s.agent.Replace("manifests/"+gateFile, gate(false)))
	if err != nil {
		return s, err
	}
	if err := s.agent.Start(); err != nil {
		return s, err
	}
	if err := s.agent.WaitReady(ctx, 2*time.Minute); err != nil {
		return s, err
	}
	return s, s.connect(netip.AddrPortFrom(pods[1].Addrs[0], port))
}

func (s *stage) addPods(ctx context.Context, n int) ([]node.Pod, error) {
	var pods []node.Pod
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pod := node.Pod{Namespace: "shop", Name: fmt.Sprintf("p%d", i), Labels: fmt.Sprintf("app: a%d", i),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(1 + i/200), byte(10 + i%200)})}}
		if _, err := s.node.AddPod(pod.Name, pod.Addrs...); err != nil {
			return nil, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

func (s *stage) connect(to netip.AddrPort) (err error) {
	if s.receiver, err = newReceiver(s.node.Pods[1], to); err != nil {
		return err
	}
	s.sender, err = s.node.Pods[0].Dial("udp", to, time.Second)
	return err
}

// gate is the policy that opens or shuts the way to every pod.
func gate(open bool) string {
	from := "192.0.2.1/32"
	if open {
		from = "10.244.0.0/16"
	}
	return policy("gate", from)
}

// others select every pod, and allow nobody who is there.
func others(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(policy(fmt.Sprintf("other-%d", i), fmt.Sprintf("172.%d.%d.%d/32", 16+i/62_500, i/250%250, i%250)))
	}
	return b.String()
}

func policy(name, cidr string) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: %s}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: %s}}]
    ports: [{protocol: UDP, port: %d}]
---
`, name, cidr, port)
}

// turn the gate. The file is written outside of the folder that the agent
// watches, so that begun is the time of the rename(2) and of nothing before it.
func (s *stage) turn(open bool) (begun time.Duration, err error) {
	written := filepath.Join(s.folder, gateFile)
	if err := os.WriteFile(written, []byte(gate(open)), 0o644); err != nil {
		return 0, fmt.Errorf("write the policy: %w", err)
	}
	begun = now()
	if err := os.Rename(written, filepath.Join(s.folder, "manifests", gateFile)); err != nil {
		return 0, fmt.Errorf("rename the policy: %w", err)
	}
	return begun, nil
}

// lastApply is the part of a change that the agent spent on bringing it into
// the maps, by its own account.
func (s *stage) lastApply(ctx context.Context) (time.Duration, error) {
	out, err := s.agent.Weir("status", "-o", "json").Output()
	if err != nil {
		return 0, errors.Join(ctx.Err(), fmt.Errorf("weir status: %w; is weir-agent still there?", err))
	}
	var status struct {
		LastApply string `json:"last_apply"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("weir status: %w", err)
	}
	return time.ParseDuration(status.LastApply)
}

func (s *stage) close() error {
	var errs []error
	if s.sender != nil {
		errs = append(errs, s.sender.Close())
	}
	if s.receiver != nil {
		errs = append(errs, s.receiver.close())
	}
	if s.agent != nil {
		errs = append(errs, s.agent.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}
