// SPDX-License-Identifier: Apache-2.0

// Package resolve turns the model into what the data path can look up: peer
// classes (equivalence classes of addresses), policy sets (the exact content
// of the policies of one direction that apply to a pod) and which pod has
// which sets. It is incremental, and has no goroutines, locks or clock.
//
// It may import package policy, and nothing else of weir.
package resolve
