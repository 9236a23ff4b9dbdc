// SPDX-License-Identifier: Apache-2.0

// Package chart renders weir's Helm chart with Helm's own engine, without a
// cluster.
package chart
