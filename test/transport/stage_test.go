// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	patience = 10 * time.Second
	silence  = 300 * time.Millisecond // in which what is denied must not arrive
	port     = 8080
	shut     = 8081 // served, and allowed by nobody
	crossed  = 8090 // allowed as port is, and served by nobody
)

// policies: web is isolated both ways; client reaches it on one port, and it
// reaches the host behind the host outside on one port.
const policies = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8080}, {protocol: UDP, port: 8080}, {port: 8090}]
  egress:
  - to: [{ipBlock: {cidr: 192.168.78.0/24}}, {ipBlock: {cidr: "fd00:78::/64"}}]
    ports: [{port: 8080}, {protocol: UDP, port: 8080}]
`

// stage is a node with two pods, an agent, and a host two links away.
type stage struct {
	node        *netns.Node
	web, client *netns.Pod
	far         *netns.Namespace
	*node.View
}

// narrow is the MTU of the last link towards the host far away, which does not
// know of it.
const narrow = 1300

var farAddrs = []netip.Addr{netip.MustParseAddr("192.168.78.2"), netip.MustParseAddr("fd00:78::2")}

func newStage(t *testing.T, name string, wiring netns.Wiring) *stage {
	t.Helper()
	node.RequireKernel(t)
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent")
	n, err := netns.NewNode(name, netns.Options{Wiring: wiring})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	s := &stage{node: n}
	pods := []node.Pod{
		{Namespace: "shop", Name: "web", Labels: "app: web", Addrs: node.Dual(10)},
		{Namespace: "shop", Name: "client", Labels: "app: client", Addrs: node.Dual(11)},
	}
	for i, to := range []**netns.Pod{&s.web, &s.client} {
		*to, err = n.AddPod(pods[i].Name, pods[i].Addrs...)
		must(t, err)
	}
	s.far, err = n.AddFar(narrow, farAddrs...)
	must(t, err)
	for _, at := range []*netns.Namespace{s.web.Namespace, s.client.Namespace, s.far} {
		for _, p := range []uint16{port, shut} {
			echo, err := at.ServeEcho(p)
			must(t, err)
			t.Cleanup(func() { must(t, echo.Close()) })
		}
	}
	agent, err := node.NewAgent(bin, filepath.Join(t.TempDir(), "weir-transport-"+name), "node-a", n)
	must(t, err)
	t.Cleanup(func() { must(t, agent.Close()) })
	must(t, agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, pods)))
	must(t, agent.Replace("manifests/policies.yaml", policies))
	must(t, agent.Start())
	must(t, agent.WaitReady(t.Context(), time.Minute))
	s.View, err = node.NewView(t.Context(), agent)
	must(t, err)
	t.Cleanup(func() { must(t, s.View.Close()) })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	node.VerifyMain(m, "/run/netns/tpr-*", "/run/netns/tpb-*", "/sys/fs/bpf/weir-transport-*")
}
