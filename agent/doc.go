// SPDX-License-Identifier: Apache-2.0

// Package agent wires the node agent together: watch -> resolve -> compile ->
// datapath -> flows -> api. What each stage does is decided in its own
// package; here is only who owns what and in which order things happen.
//
// One goroutine, the controller, owns the desired state (resolve, compile,
// the endpoint tracker) and is the only one that writes policy to the data
// path. Readers get copies from directory.go.
package agent
