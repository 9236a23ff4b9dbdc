// SPDX-License-Identifier: Apache-2.0

// Command weir-bench takes the benchmarks that need a kernel, and writes their
// results as JSON.
package main
