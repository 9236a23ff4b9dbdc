// SPDX-License-Identifier: Apache-2.0

// Package client owns the way to a node agent: the connection over its Unix
// socket, errors that say what to do next, and a Watch that outlives the
// agent's restarts.
//
// It may import grpc and api/v1, and nothing else of weir: the command line
// stays free of the data path.
package client
