// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirnet/weir/test/cluster/layout"
)

// Paths as the node's processes see them.
const (
	runtimeSocket    = "/run/containerd/containerd.sock"
	runtimeFile      = "/run/containerd/config.toml"
	kubeletFile      = "/run/kubelet.yaml"
	proxyFile        = "/run/kube-proxy.yaml"
	cniConfigFile    = "/etc/cni/net.d/10-weir-cluster.conflist"
	cniBinaries      = "/opt/cni/bin"
	packagedPlugins  = "/usr/lib/cni" // Debian's containernetworking-plugins
	sandboxImage     = "registry.k8s.io/pause:3.10.1"
	maximumPods      = 250
	containerMTU     = 1500
	addressDirectory = "/var/lib/cni/networks"
)

// configure writes the files of the node's processes.
func configure(n layout.Node) error {
	files := map[string]string{
		runtimeFile: runtimeConfiguration(),
		kubeletFile: kubeletConfiguration(n),
		proxyFile:   proxyConfiguration(n),
	}
	conflist, err := json.MarshalIndent(cniConfiguration(n), "", "  ")
	if err != nil {
		return err
	}
	files[cniConfigFile] = string(conflist) + "\n"
	for path, content := range files {
		// A node that boots again finds the CNI's configuration as others
		// have left it.
		if _, err := os.Stat(path); err == nil && path == cniConfigFile {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return linkPlugins()
}

// linkPlugins shows Debian's plugins where a CNI's files are by custom, in a
// folder of the node's own: what is installed there reaches no other node.
func linkPlugins() error {
	plugins, err := os.ReadDir(packagedPlugins)
	if err != nil {
		return fmt.Errorf("%w; install Debian's containernetworking-plugins (make packages-cluster)", err)
	}
	for _, p := range plugins {
		link := filepath.Join(cniBinaries, p.Name())
		if err := os.Symlink(filepath.Join(packagedPlugins, p.Name()), link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func runtimeConfiguration() string {
	return fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`, runtimeSocket, sandboxImage, cniBinaries, filepath.Dir(cniConfigFile))
}

// kubeletConfiguration: nothing of the machine's disk may evict a pod, and the
// kubelet finds no systemd and perhaps control groups of version 1 only.
func kubeletConfiguration(n layout.Node) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %q}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: %q
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://%s
clusterDomain: %s
clusterDNS: [%s]
resolvConf: ""
staticPodPath: ""
volumePluginDir: /var/lib/kubelet/volumeplugins
maxPods: %d
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 10s
syncFrequency: 10s
serializeImagePulls: false
registerNode: true
`, filepath.Join(n.Settings.PKI(), "ca.crt"), cgroupOf(n), runtimeSocket, layout.Domain, layout.DNSAddress, maximumPods)
}

func proxyConfiguration(n layout.Node) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %q}
mode: %s
hostnameOverride: %s
clusterCIDR: %q
conntrack: {maxPerCore: 0}
`, n.Settings.Kubeconfig("proxy"), n.Settings.Proxy, n.Name(), n.Settings.PodRanges())
}

// cniConfiguration is of CNI 1.0.0, the newest that containerd 1.6 and
// Debian 12's plugins speak.
func cniConfiguration(n layout.Node) map[string]any {
	var ranges, routes []any
	for _, prefix := range n.PodRanges() {
		ranges = append(ranges, []any{map[string]any{"subnet": prefix.String()}})
		all := "0.0.0.0/0"
		if prefix.Addr().Is6() {
			all = "::/0"
		}
		routes = append(routes, map[string]any{"dst": all})
	}
	first := map[string]any{
		"type":   n.Settings.CNI,
		"ipMasq": false,
		"mtu":    containerMTU,
		"ipam":   map[string]any{"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": addressDirectory},
	}
	if n.Settings.CNI == "bridge" {
		first["bridge"], first["isGateway"], first["hairpinMode"] = "cni0", true, true
	}
	return map[string]any{
		"cniVersion": "1.0.0",
		"name":       "weir-cluster",
		"plugins": []any{
			first,
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "snat": true},
		},
	}
}

// nodeAddresses as the kubelet takes them.
func nodeAddresses(n layout.Node) string {
	var list []string
	for _, a := range n.Addresses() {
		list = append(list, a.String())
	}
	return strings.Join(list, ",")
}
