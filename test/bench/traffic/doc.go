// SPDX-License-Identifier: Apache-2.0

// Package traffic compares connections between two pods of a node under weir
// with the same under nothing, and under what Debian ships instead: iptables
// with ipset, and nftables with sets.
//
// Each variant has a node of network namespaces to itself, all at one time.
// Runs of some milliseconds on a variant and on its baseline take turns, and
// each such pair gives a ratio: what else the machine does hits both. Clients
// and servers are processes of their own, on one CPU.
//
// It needs root, Linux 6.6 (TCX), iptables, ipset and nft. It may import
// everything of weir but agent and cmd.
package traffic
