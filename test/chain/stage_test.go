// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plugins is where Debian has them.
const plugins = "/usr/lib/cni"

// The first plugin of the chain, with host-local addresses.
const (
	ptp    = `{"type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`
	bridge = `{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}`
)

// stage is a node with an agent that has entered its plugin into a chain.
type stage struct {
	t        *testing.T
	dir      string
	node     *netns.Node
	agent    *node.Agent
	runtime  *libcni.CNIConfig
	declared []node.Pod
	text     string // of the configuration before weir
}

func newStage(t *testing.T, name, first, failure string) *stage {
	t.Helper()
	node.RequireKernel(t)
	if _, err := os.Stat(filepath.Join(plugins, "ptp")); err != nil {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatalf("%v: make packages-deploy installs it", err)
		}
		t.Skipf("%v: make packages-deploy installs it", err)
	}
	s := &stage{t: t, dir: filepath.Join(t.TempDir(), "weir-chain-"+name)}
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent", "../../cmd/weir-cni")
	n, err := netns.NewNode("chain"+name, netns.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	s.node = n
	s.agent, err = node.NewAgent(bin, s.dir, "node-a", n)
	must(t, err)
	for _, folder := range []string{"net.d", "bin", "cache"} {
		must(t, os.MkdirAll(filepath.Join(s.dir, folder), 0o755))
	}
	s.text = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [` + fmt.Sprintf(first, filepath.Join(s.dir, "addresses")) + `]}`
	must(t, os.WriteFile(s.conf(), []byte(s.text), 0o600))
	s.agent.Args = []string{
		"--cni-preset=default", "--cni-conf-dir=" + filepath.Join(s.dir, "net.d"), "--cni-bin-dir=" + filepath.Join(s.dir, "bin"),
		"--cni-failure=" + failure, "--cni-timeout=2s",
	}
	s.runtime = libcni.NewCNIConfigWithCacheDir([]string{filepath.Join(s.dir, "bin"), plugins}, filepath.Join(s.dir, "cache"), nil)
	must(t, s.agent.Replace("manifests/policy.yaml", policy))
	must(t, s.agent.Start())
	t.Cleanup(func() {
		must(t, s.agent.Close())
		s.left()
	})
	must(t, s.agent.WaitReady(t.Context(), time.Minute))
	return s
}

// policy: pods of app=closed may send nothing.
const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: no-egress}
spec:
  podSelector: {matchLabels: {app: closed}}
  policyTypes: [Egress]
---
`

func (s *stage) conf() string { return filepath.Join(s.dir, "net.d", "10-pods.conflist") }

// left: nothing of the plugin may be left after the cleanup.
func (s *stage) left() {
	raw, err := os.ReadFile(s.conf())
	must(s.t, err)
	if string(raw) != s.text {
		s.t.Errorf("the configuration after the cleanup:\n%s\nwant what was there before:\n%s", raw, s.text)
	}
	if files, _ := filepath.Glob(filepath.Join(s.dir, "bin", "*")); len(files) > 0 {
		s.t.Errorf("left after the cleanup: %v", files)
	}
}

// pod is one that the scheduler has put on this node.
type pod struct {
	name  string
	space string // path of its namespace
	addr  netip.Addr
}

// schedule declares a pod, as the API shows it before it has an address, and
// makes its namespace.
func (s *stage) schedule(name, app string) *pod {
	s.t.Helper()
	s.declared = append(s.declared, node.Pod{Namespace: "shop", Name: name, Labels: "app: " + app})
	must(s.t, s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, s.declared)))
	// Not by ip netns: its first call on a machine mounts /run/netns over
	// itself, and what other tests had mounted there could not be removed.
	space, err := netns.NewNamespace(s.node.Name + "-" + name)
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, space.Close()) })
	return &pod{name: name, space: space.Path()}
}

// list is the configuration as the runtime reads it now.
func (s *stage) list() *libcni.NetworkConfigList {
	s.t.Helper()
	list, err := libcni.NetworkConfFromFile(s.conf())
	must(s.t, err)
	return list
}

func (p *pod) runtimeConf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: "container-" + p.name, NetNS: p.space, IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", p.name},
			{"K8S_POD_INFRA_CONTAINER_ID", "container-" + p.name}, {"K8S_POD_UID", "uid-of-shop-" + p.name},
		},
	}
}

// add runs the chain on the node and notes the pod's address.
func (s *stage) add(p *pod) error {
	return s.node.Do(func() error {
		result, err := s.runtime.AddNetworkList(s.t.Context(), s.list(), p.runtimeConf())
		if err != nil {
			return err
		}
		r, err := current.NewResultFromResult(result)
		if err != nil {
			return err
		}
		p.addr, _ = netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
		return nil
	})
}

func (s *stage) check(p *pod) error {
	return s.node.Do(func() error {
		return s.runtime.CheckNetworkList(s.t.Context(), s.list(), p.runtimeConf())
	})
}

func (s *stage) del(p *pod) error {
	return s.node.Do(func() error {
		return s.runtime.DelNetworkList(s.t.Context(), s.list(), p.runtimeConf())
	})
}

// send is a pod's first process: datagrams at once, one a millisecond. It gives
// how many were tried.
func (p *pod) send(t *testing.T, to netip.AddrPort, count int) (attempts int) {
	t.Helper()
	must(t, inside(p.space, func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range count {
			attempts++
			_, _ = conn.Write([]byte("weir")) // an ICMP error from before is no reason to stop
			<-tick.C
		}
		return nil
	}))
	return attempts
}

// inside runs f on a thread in the namespace at path.
func inside(path string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and does not return home
		space, err := vnetns.GetFromPath(path)
		if err == nil {
			err = vnetns.Set(space)
			_ = space.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
