// SPDX-License-Identifier: Apache-2.0

// Package flows owns a flow record from the raw event to the filter that a
// reader set: decode, enrich with names, bounded store, filter. Records are
// compact structs; protos are built in package api/server alone.
//
// decode.go may import package bpf (the generated types); nothing else here
// imports weir's packages other than policy (for the names of things).
package flows
