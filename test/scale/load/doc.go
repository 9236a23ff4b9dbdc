// SPDX-License-Identifier: Apache-2.0

// Package load makes the cluster that the agent is measured in: namespaces,
// fake nodes, pods and policies, and the churn of pods. It talks to the API
// server alone.
package load
