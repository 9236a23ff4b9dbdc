// SPDX-License-Identifier: Apache-2.0

// Command weir shows what the agent of this node sees and enforces: flows with
// their verdicts, policies, endpoints, and why one pod may or may not reach
// another. Installed as kubectl-weir it is a plugin of kubectl; a link of the
// name kubectl_complete-weir makes kubectl complete its words.
//
// It reads the agent's API on a Unix socket and changes nothing. How answers
// look is package output's part, files of flows are package recording's; this
// package owns flags, requests, the connection and exit codes:
//
//	0    done; a denial that explain or observe shows is an answer, not an error
//	1    error
//	2    usage: an unknown flag, a value that cannot be read
//	3    nothing to show, with --exit-nonzero-if-empty
//	4    a flow was shown, with --fail-on-match
//	5    done, but flows were lost, overwritten while they were read, or cut off
//	124  --timeout was over
//	130  interrupted
//
// It may import api/client, api/v1, cmd/weir/output, cmd/weir/recording, cobra,
// the codes of grpc and the library that reads selectors of labels.
package main
