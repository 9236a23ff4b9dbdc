// SPDX-License-Identifier: Apache-2.0

// Package netns builds small nodes out of network namespaces, with veths as a
// CNI makes them, for the demo and for tests with real packets. Everything it
// makes carries the name of its Node, and Close removes it all.
//
// It needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN), and imports netlink libraries
// only.
package netns
