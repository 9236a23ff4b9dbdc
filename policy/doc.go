// SPDX-License-Identifier: Apache-2.0

// Package policy holds the model of NetworkPolicy that every other package
// speaks; Evaluate, the oracle: the specification of NetworkPolicy in plain Go;
// and Outcomes, which tells people why the oracle's rules matched or missed.
// It imports the standard library only, and knows nothing of classes, sets,
// rows, kernels or Kubernetes types.
package policy
