// SPDX-License-Identifier: Apache-2.0

// Command weir shows what the agent of this node sees and enforces: flows with
// their verdicts, policies, endpoints, and why one pod may or may not reach
// another. Installed as kubectl-weir it is a plugin of kubectl.
//
// It reads the agent's API on a Unix socket and changes nothing. How answers
// look is package output's part; this package owns flags, requests, the
// connection and exit codes:
//
//	0    done; a denial that explain or observe shows is an answer, not an error
//	1    error
//	2    usage: an unknown flag, a value that cannot be read
//	130  interrupted
//
// It may import api/client, api/v1, cmd/weir/output, cobra and the codes of grpc.
package main
