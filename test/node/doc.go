// SPDX-License-Identifier: Apache-2.0

// Package node runs the real weir-agent on a node made of network namespaces,
// for the demo and for tests of the whole path.
package node
