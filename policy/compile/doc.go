// SPDX-License-Identifier: Apache-2.0

// Package compile turns sets and classes into rows of verdicts (sorted,
// disjoint port intervals, each with its deciding rule), and holds a Go
// interpreter of the tables that reads them as the programs do.
//
// A row is found by (set, class, protocol); if there is none, by (set, class,
// 0), the row for every protocol; if there is none either and the set has a
// rule for any peer, by (set, 0, protocol) and (set, 0, 0). Rows of a class
// hold the rules for any peer as well, merged, so the search may stop at the
// first row found. No row: the set's default, deny.
//
// It may import packages policy, policy/resolve and bpf (the generated types).
package compile
