// SPDX-License-Identifier: Apache-2.0

// Package image makes weir's container image from its binaries, without a
// daemon: an OCI layout for all architectures, and a tar for each. The same
// binaries make the same bytes.
package image
