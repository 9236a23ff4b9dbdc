// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"testing"
)

// TestEpochMoves: an allowed flow that is denied from now on is judged again,
// because the epoch moved or because its endpoint got another set.
func TestEpochMoves(t *testing.T) {
	packets := allPackets()
	cut := 0
	for seed := range uint64(10) {
		c := chance{newRand(t, 3000+seed)}
		m, w := newMachine(), newWorld()
		for i := range 60 {
			before, epoch := verdicts(m, w, packets), m.tables.Epoch
			b := c.event()
			w.apply(b)
			m.apply(b)
			for q, now := range verdicts(m, w, packets) {
				if !before[q] || now {
					continue
				}
				cut++
				if m.tables.Epoch == epoch {
					t.Fatalf("seed %d, event %d: %+v is denied now, and the epoch has not moved", 3000+seed, i, fmt.Sprint(q))
				}
			}
			if c.rarely() {
				m.collect()
			}
		}
	}
	if cut == 0 {
		t.Error("no event denied what had been allowed: the test tests nothing")
	}
}
