// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests: against any cluster with weir that
// KUBECONFIG leads to, through the Kubernetes API alone, with real pods that
// run Kubernetes' test image agnhost.
//
// It is a module of its own: the agent shall not depend on what starts commands
// in pods, and go test ./... of the agent's module shall never touch somebody's
// cluster.
package e2e
