// SPDX-License-Identifier: Apache-2.0

// Command weir shows what the agents of a node or a cluster see and enforce: flows with
// their verdicts, policies, endpoints, and why one pod may or may not reach
// another. Installed as kubectl-weir it is a plugin of kubectl; a link of the
// name kubectl_complete-weir makes kubectl complete its words.
//
// It reads the agent's API on a Unix socket, or those of all agents of a cluster
// through the API server, and changes nothing. How answers look is package
// output's part, files of flows are package recording's, the way through the
// API server package kube's, order among nodes package merge's; this
// package owns flags, requests, the connection and exit codes:
//
//	0    done; a denial that explain or observe shows is an answer, not an error
//	1    error
//	2    usage: an unknown flag, a value that cannot be read
//	3    nothing to show, with --exit-nonzero-if-empty
//	4    a flow was shown, with --fail-on-match
//	5    done, but flows were lost or held back, overwritten while they were read, or
//	     cut off, or a node does not answer
//	124  --timeout was over
//	130  interrupted
//
// It may import api/client, api/v1, cmd/weir/output, cmd/weir/recording,
// cmd/weir/kube, cmd/weir/merge, cobra,
// the codes of grpc and the library that reads selectors of labels.
package main
