// SPDX-License-Identifier: Apache-2.0

// Package probe has one test, which tells what the kernel offers and what of
// it the data path uses. It imports the data path and cilium/ebpf.
package probe
