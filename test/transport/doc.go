// SPDX-License-Identifier: Apache-2.0

// Package transport lets real stacks talk through the programs in the ways that
// test runs of single packets cannot show: segments larger than the link,
// datagrams in fragments, paths that shrink, checksums that are not there yet,
// packets whose headers lie in pages.
package transport
