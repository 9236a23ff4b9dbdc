// SPDX-License-Identifier: Apache-2.0

package datapath

import "testing"

func TestSampleAt(t *testing.T) {
	for _, row := range []struct {
		waiting uint64
		want    uint32
	}{{0, 1}, {499, 1}, {500, 2}, {624, 2}, {625, 4}, {750, 8}, {875, 16}, {1000, 16}} {
		if got := sampleAt(RingUse{Waiting: row.waiting, Size: 1000}); got != row.want {
			t.Errorf("%d of 1000 bytes wait: one in %d, want %d", row.waiting, got, row.want)
		}
	}
}
