// SPDX-License-Identifier: Apache-2.0

// Package flows owns a flow record from the raw event, or the entry of the
// table of flows, to the filter that a reader set: decode, enrich with names,
// memory of live flows, bounded store, filter, summary, accounts of rules.
// Records are compact structs; protos are built in package api/server alone.
//
// It may import packages policy (for the names of things) and bpf (for the
// event, the entry and their enums), and nothing else of weir; selectors of
// labels are read by the library that kubectl reads them with.
package flows
