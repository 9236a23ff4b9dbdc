// SPDX-License-Identifier: Apache-2.0

// Package rig sets a node up for benchmarks: a network namespace with pods,
// the engine, the compiler and the data path as the agent uses them, without
// the agent. What a benchmark needs of the kernel it gets from the hooks, so
// that neither the layout of the maps nor that of the pins matters here.
//
// It needs root. It imports policy, agent/datapath and test/netns.
package rig
