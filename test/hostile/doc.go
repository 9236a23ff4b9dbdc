// SPDX-License-Identifier: Apache-2.0

// Package hostile holds the tests of attacks: what a hostile pod and a hostile
// host outside can send, as real packets between network namespaces under the
// whole agent, and as random frames through the programs alone.
//
// Each attack runs twice on the same node: before the agent starts it must
// work, so that the test proves something, and after that it must not, for the
// reason that the counter of the pod and an event name.
package hostile
