// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weirnet/weir/test/node"
)

const nodeName = "node-a"

func (s *stage) startAgent(bin string, how setup) {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "weir-"+how.name) // short: a socket's path is
	must(s.t, err)
	s.t.Cleanup(func() { report(s.t, os.RemoveAll(dir)) })
	s.agent, err = node.NewAgent(bin, dir, nodeName, s.node)
	must(s.t, err)
	s.agent.Args = []string{"--forward-hook=" + how.hook, "--metrics-address="}
	if how.audit {
		s.agent.Args = append(s.agent.Args, "--mode=audit")
	}
	s.t.Cleanup(func() {
		report(s.t, s.agent.Close())
		if _, err := os.Stat(s.agent.Pins); !os.IsNotExist(err) {
			s.t.Errorf("pins are left in %s: %v", s.agent.Pins, err)
		}
	})
	must(s.t, s.agent.Replace("manifests/cluster.yaml", cluster()))
	must(s.t, s.agent.Replace("manifests/shut.yaml", `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: shut}
spec:
  podSelector: {matchLabels: {app: shut}}
  policyTypes: [Ingress, Egress]
`))
	s.allow("good")
	must(s.t, s.agent.Start())
	must(s.t, s.agent.WaitReady(s.t.Context(), time.Minute))
}

// Host ports of the pods on this node, for TCP and UDP.
const (
	hostPortGood = 8090
	hostPortBad  = 8091
)

// cluster has the pods and Services.
func cluster() string {
	return node.Manifest(nodeName, []string{"shop"}, nil) + podManifests() + serviceManifests()
}

func podManifests() string {
	var b strings.Builder
	four, six := families()["IPv4"], families()["IPv6"]
	for _, p := range []struct{ name, app, node string }{
		{"client", "client", nodeName}, {"good", "good", nodeName}, {"bad", "bad", nodeName}, {"free", "free", nodeName}, {"shut", "shut", nodeName},
		{"far-good", "good", "node-b"}, {"far-bad", "bad", "node-b"},
	} {
		onHost := ""
		if port := map[string]int{"good": hostPortGood, "bad": hostPortBad}[p.name]; port != 0 {
			onHost = fmt.Sprintf(", {containerPort: 8080, hostPort: %[1]d}, {containerPort: 8080, protocol: UDP, hostPort: %[1]d}", port)
		}
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: %[1]s, uid: uid-of-%[1]s, labels: {app: %[2]s}}
spec:
  nodeName: %[3]s
  containers: [{name: server, ports: [{name: web, containerPort: 8080}%[6]s]}]
status:
  phase: Running
  podIPs: [{ip: %[4]q}, {ip: %[5]q}]
---
`, p.name, p.app, p.node, four[p.name], six[p.name], onHost)
	}
	return b.String()
}

func serviceManifests() string {
	var b strings.Builder
	four, six := families()["IPv4"], families()["IPv6"]
	for _, name := range []string{"svc-good", "svc-bad", "svc-far-good", "svc-far-bad", "svc-node", "svc-outside", "svc-self", "svc-empty", "svc-unknown", "svc-dns", "svc-split", "svc-sticky"} {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: %[1]s}
spec:
  clusterIPs: [%[2]q, %[3]q]
  ports: [{name: web, protocol: TCP, port: 80, targetPort: web}, {name: dns, protocol: UDP, port: 80, targetPort: 8080}]
---
`, name, four[name], six[name])
	}
	for i, name := range []string{"good", "bad"} {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: public-%[1]s}
spec:
  type: NodePort
  clusterIPs: ["10.96.1.%[2]d", "fd00:96:1::%[2]d"]
  externalIPs: [%[3]q, %[4]q]
  ports: [{name: web, protocol: TCP, port: 80, nodePort: %[5]d}]
---
`, name, i+1, four["external-"+name], six["external-"+name], 30080+i)
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: balanced-%[1]s}
spec:
  type: LoadBalancer
  clusterIPs: ["10.96.2.%[2]d", "fd00:96:2::%[2]d"]
  ports: [{name: web, protocol: TCP, port: 80}, {name: dns, protocol: UDP, port: 80}]
status: {loadBalancer: {ingress: [{ip: %[3]q}, {ip: %[4]q}]}}
---
`, name, i+1, four["balancer-"+name], six["balancer-"+name])
	}
	for name, backend := range map[string]string{"svc-good": "good", "svc-bad": "bad", "svc-self": "client"} {
		for family, f := range families() {
			fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: "%[1]s-%[4]s", labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[2]s
endpoints: [{addresses: [%[3]q], conditions: {ready: true}}]
ports: [{name: web, protocol: TCP, port: 8080}]
---
`, name, family, f[backend], strings.ToLower(family))
		}
	}
	return b.String()
}

// allow lets the client reach the pods with one label by their named port, and
// one address outside; nothing else.
func (s *stage) allow(app string) {
	s.t.Helper()
	must(s.t, s.agent.Replace("manifests/policies.yaml", fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: client}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: %s}}}]
    ports: [{protocol: TCP, port: web}, {protocol: UDP, port: 8080}]
  - to: [{ipBlock: {cidr: %s/32}}, {ipBlock: {cidr: "%s/128"}}]
    ports: [{protocol: TCP, port: 8080}, {protocol: UDP, port: 8080}]
`, app, families()["IPv4"]["outside"], families()["IPv6"]["outside"])))
}
