// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"net/netip"
	"strings"
)

// Pod is what the manifests say of a pod.
type Pod struct {
	Namespace, Name string
	Labels          string // as YAML flow mapping content: "app: web, tier: a"
	Addrs           []netip.Addr
}

// Manifest holds namespaces and running pods of the node called name, as an
// API server would show them.
func Manifest(name string, namespaces []string, pods []Pod) string {
	var b strings.Builder
	for _, ns := range namespaces {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %[1]s\n  labels: {kubernetes.io/metadata.name: %[1]s}\n---\n", ns)
	}
	for _, p := range pods {
		var ips []string
		for _, a := range p.Addrs {
			ips = append(ips, fmt.Sprintf("{ip: %q}", a))
		}
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata:
  namespace: %[1]s
  name: %[2]s
  uid: uid-of-%[1]s-%[2]s
  labels: {%[3]s}
spec:
  nodeName: %[4]s
status:
  phase: Running
  podIPs: [%[5]s]
---
`, p.Namespace, p.Name, p.Labels, name, strings.Join(ips, ", "))
	}
	return b.String()
}

// Dual gives the addresses of the pod with this number on a netns.Node.
func Dual(host byte) []netip.Addr {
	v6 := netip.MustParseAddr("fd00:10:244:1::").As16()
	v6[15] = host
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 1, host}), netip.AddrFrom16(v6)}
}
