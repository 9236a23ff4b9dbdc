// SPDX-License-Identifier: Apache-2.0

// Package server owns the agent's side of the API: the gRPC services of
// weir.v1 over small interfaces that the agent fills, the Unix socket that
// they are served on, and the translation between the agent's structs and
// protos (convert.go; nothing else builds protos).
//
// It may import grpc, api/v1, flows and policy.
package server
