// SPDX-License-Identifier: Apache-2.0

// Package datapath owns what weir has in the kernel: it loads and pins the
// programs and maps, attaches the programs first on the hooks of pods' veths,
// binds veths to pods, applies updates of the tables in the order that shows
// no instant of a wrong verdict, sweeps the flow table, and reads raw events
// and counters.
//
// It decides nothing: what a packet may do is in the compile.Update that it is
// given. It starts no goroutine of its own, apart from those inside Events.
// All calls act on the network namespace of the calling thread, and must come
// from the same one as Load.
//
// It may import packages bpf, policy, policy/resolve, policy/compile,
// cilium/ebpf and netlink.
//
// Pins, below Options.PinDir:
//
//	epoch, marks             never versioned; both only ever increase
//	tables-N-HASH/           what user space writes; `complete` once it was all written
//	flows-HASH/ counts-HASH/ what the programs write
//	programs/                from_pod, to_pod
//	links/IFINDEX-PROGRAM    TCX links
//	links/forward-FAMILY     netfilter links
//	clsact/IFINDEX           marks a qdisc that weir made
//
// HASH is over type, key, value, size and flags of the group's maps. A group
// whose hash agrees is used again; another one is built beside it, and the
// programs that use the new maps take the place of the old ones in Finish.
package datapath
