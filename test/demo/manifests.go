// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/weirnet/weir/test/node"
)

// pods of the demo; all are on its one node.
var pods = []node.Pod{
	{Namespace: "shop", Name: "frontend", Labels: "app: frontend", Addrs: node.Dual(10)},
	{Namespace: "shop", Name: "my-app", Labels: "app: my-app", Addrs: node.Dual(11)},
	{Namespace: "shop", Name: "database", Labels: "app: database", Addrs: node.Dual(12)},
	{Namespace: "other", Name: "stranger", Labels: "app: stranger", Addrs: node.Dual(13)},
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
