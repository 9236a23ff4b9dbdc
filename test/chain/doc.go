// SPDX-License-Identifier: Apache-2.0

// Package chain runs the CNI plugin weir-cni as a container runtime does,
// behind the real plugins ptp and bridge, with a real agent: what the agent
// makes of the configuration, whether policy holds from a pod's first packet,
// what it costs, and what happens without an agent.
//
// It needs root and Debian's package containernetworking-plugins.
package chain
