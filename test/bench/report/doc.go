// SPDX-License-Identifier: Apache-2.0

// Command report writes REPORT.md and its plots from the results of the
// benchmarks. It is a module of its own: nothing else of weir needs a library
// that draws. What it shares with the benchmarks is the form of their files
// (test/bench/record), and nothing else.
package main
