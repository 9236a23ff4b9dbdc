// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// pods of the demo; all are on its one node.
var pods = []struct {
	namespace, name, app string
	addrs                []netip.Addr
}{
	{"shop", "frontend", "frontend", dual(0x10)},
	{"shop", "my-app", "my-app", dual(0x11)},
	{"shop", "database", "database", dual(0x12)},
	{"other", "stranger", "stranger", dual(0x13)},
}

func dual(host byte) []netip.Addr {
	v6 := netip.MustParseAddr("fd00:10:244:1::").As16()
	v6[15] = host
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 1, host}), netip.AddrFrom16(v6)}
}

// clusterManifest holds the namespaces and pods, as the API server would show them.
func clusterManifest() string {
	var b strings.Builder
	for _, ns := range []string{"shop", "other"} {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %[1]s\n  labels: {kubernetes.io/metadata.name: %[1]s}\n---\n", ns)
	}
	for _, p := range pods {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata:
  namespace: %s
  name: %s
  uid: demo-%[2]s
  labels: {app: %s}
spec:
  nodeName: demo
status:
  phase: Running
  podIPs: [{ip: "%s"}, {ip: "%s"}]
---
`, p.namespace, p.name, p.app, p.addrs[0], p.addrs[1])
	}
	return b.String()
}

// policiesManifest is what the demo edits: port is the one that allow-app opens.
func policiesManifest(port int) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: default-deny}
spec:
  podSelector: {}
  policyTypes: [Ingress]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: allow-app}
spec:
  podSelector: {matchLabels: {app: my-app}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: frontend}}}]
    ports: [{protocol: TCP, port: %d}]
  egress:
  - to: [{podSelector: {matchLabels: {app: database}}}]
    ports: [{protocol: TCP, port: 5432}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: allow-db}
spec:
  podSelector: {matchLabels: {app: database}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: my-app}}}]
    ports: [{protocol: TCP, port: 5432}]
`, port)
}

// configuration of the agent, which it watches: the mode of namespace shop.
func configuration(mode string) string {
	return "namespace-mode: {shop: " + mode + "}\n"
}

// replace writes a file as an editor or a tool should: whole, by rename.
func (d *demo) replace(name, content string) error {
	path := filepath.Join(d.dir, name)
	temporary := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.WriteFile(temporary, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
