// SPDX-License-Identifier: Apache-2.0

// Package output owns how the answers of the agent look: lines of flows,
// tables, blocks, JSON and YAML. It takes messages of api/v1 and writes text; it opens no
// connection, reads no clock and no environment.
//
// It may import api/v1 and protobuf, nothing else of weir.
//
// Everything that an answer carries is treated as hostile: names and messages
// are written by Escape, or as JSON whose unprintable characters are escaped.
package output
