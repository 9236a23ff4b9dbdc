// SPDX-License-Identifier: Apache-2.0

// Package netpol is the NetworkPolicy part of Kubernetes' own e2e suite, and
// nothing else of that suite, as a test binary. exclusions.txt names the specs
// that are left out, each with its reason.
package netpol
