// SPDX-License-Identifier: Apache-2.0

// Package service runs the whole agent beside Services that are translated as
// kube-proxy does it, on a node made of network namespaces, and looks at every
// verdict at both ends and in the events. It needs root, and the commands nft,
// iptables-legacy and iptables-nft, by which kube-proxy writes its rules.
package service
