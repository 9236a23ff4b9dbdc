// SPDX-License-Identifier: Apache-2.0

// Package endpoint says which interface of the node leads to which pod.
//
// Two halves meet in the agent. Tracker is a state machine without a kernel:
// it is told of interfaces, of the addresses seen inside them, of pods, of
// announcements and of what an earlier agent had bound, and answers with the
// bindings that must hold and the state of each endpoint. Node reads the
// kernel by netlink: interfaces and what stands inside, the node's own
// addresses, tunnel ports, bridge netfilter. Neither writes a map or a link.
//
// A binding (interface -> pod and the addresses that the pod may send from)
// holds for the life of the interface. The addresses that stand on the
// interface inside the pod are a hint for the first binding and nothing more,
// since the pod may change them: those that were seen first count, and a pod's
// addresses are those of its status or of its announcement. Whatever
// contradicts itself is closed, not guessed: two interfaces for one pod, an
// address that another interface holds, a hint that names two pods.
//
// It may import package policy and vishvananda/netlink.
package endpoint
