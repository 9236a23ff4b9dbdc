// SPDX-License-Identifier: Apache-2.0

// Package layout says what a cluster of the harness looks like: its settings,
// its addresses and the files of its state folder. It touches nothing; the
// other packages ask it, so that no address and no path stands in two places.
package layout
