// SPDX-License-Identifier: Apache-2.0

// Package lifecycle holds the tests of pods that come, go, change and reuse
// addresses, under the whole agent and with traffic: no verdict is wrong on the
// way, and nothing of a pod that is gone stays.
package lifecycle
