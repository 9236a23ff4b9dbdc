// SPDX-License-Identifier: Apache-2.0

// Package variant owns builds of weir from changed sources: the one that tests
// replace by this one and back, and those with slower programs. It needs
// clang-19, and imports nothing of weir.
package variant
