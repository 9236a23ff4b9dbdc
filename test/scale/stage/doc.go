// SPDX-License-Identifier: Apache-2.0

// Package stage is where the agent is measured: a node with pods made of
// network namespaces, etcd and an API server in the namespace of the host
// beside it, and kwok. Everything carries the name of the stage, and Close
// removes it all.
package stage
