// SPDX-License-Identifier: Apache-2.0

// Package policy holds the model of NetworkPolicy that every other package
// speaks, and Evaluate, the oracle: the specification of NetworkPolicy in
// plain Go. It imports the standard library only, and knows nothing of
// classes, sets, rows, kernels or Kubernetes types.
package policy
