// SPDX-License-Identifier: Apache-2.0

package change

import (
	"runtime"
	"time"

	"github.com/weirnet/weir/test/bench/record"
)

// bareWork is a piece of work in a register: no memory, no call of the kernel,
// nothing to wait for. What it takes beyond its usual time is the machine's.
type bareWork struct {
	steps int
	state uint64
}

const workTime = 5 * time.Millisecond

// newBareWork finds the steps that take workTime in the usual round.
func newBareWork() *bareWork {
	const tried, rounds = 1 << 20, 31
	w := &bareWork{steps: tried, state: 1}
	var took []time.Duration
	for range rounds {
		took = append(took, w.do().took())
	}
	w.steps = max(1, int(float64(tried)*float64(workTime)/float64(record.Median(took))))
	return w
}

// do it once.
func (w *bareWork) do() span {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun, x := now(), w.state
	for range w.steps { // xorshift64: each step needs the one before
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	w.state = x
	return span{begun, now()}
}
