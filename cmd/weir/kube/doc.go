// SPDX-License-Identifier: Apache-2.0

// Package kube owns the way of the command line through the API server: the
// user's kubeconfig, the agents' pods, port forwarding to them, and the tokens
// of viewers. It knows nothing of what is asked over the connections.
//
// It may import client-go and the API types of Kubernetes, and nothing of weir.
package kube
