// SPDX-License-Identifier: Apache-2.0

// Package node is the first process of a node: it is process 1 of its own
// process, mount, network and host name namespaces, makes the node's file
// systems, and keeps containerd, kubelet and kube-proxy. When it ends, the
// kernel ends every process of the node, pods and all, and with them go their
// mounts, network namespaces, links and pinned BPF objects: nothing has to be
// cleaned up one by one, whatever state the node was in.
package node
