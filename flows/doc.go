// SPDX-License-Identifier: Apache-2.0

// Package flows owns a flow record from the raw event to the filter that a
// reader set: decode, enrich with names, bounded store, filter. Records are
// compact structs; protos are built in package api/server alone.
//
// It may import packages policy (for the names of things) and bpf (for the
// event and its enums), and nothing else of weir.
package flows
