// SPDX-License-Identifier: Apache-2.0

// Package control measures the way of a change through the control plane:
// resolve, compile, and the writes into the kernel's maps. What comes before
// (the API server or files) and after (a packet) is measured elsewhere.
//
// It needs root. It may import everything of weir but agent and cmd.
package control
