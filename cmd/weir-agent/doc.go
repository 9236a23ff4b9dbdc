// SPDX-License-Identifier: Apache-2.0

// Command weir-agent is the node agent: it enforces NetworkPolicy on the pods
// of its node and serves what it saw. This package owns flags, signals and
// exit codes; everything else is package agent.
package main
