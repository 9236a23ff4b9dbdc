// SPDX-License-Identifier: Apache-2.0

// Package record owns the form of the benchmarks' results: JSON files in one
// folder, read by test/bench/report, and the statistics behind the numbers. It
// imports the standard library only.
package record
