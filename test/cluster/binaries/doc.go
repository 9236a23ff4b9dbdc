// SPDX-License-Identifier: Apache-2.0

// Package binaries builds what a cluster runs, once: the programs and the
// images made of them are kept in a folder outside the repository, named by a
// hash of all that they are made from. A cold build takes minutes.
package binaries
