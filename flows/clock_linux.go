// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"syscall"
	"time"
	"unsafe"
)

// SystemClock is the Clock of the machine. The monotonic reading is
// CLOCK_MONOTONIC, which the programs read by bpf_ktime_get_ns; it is 0 only
// if the kernel refuses to tell, which no kernel does.
func SystemClock() (wall time.Time, monotonic uint64) {
	const clockMonotonic = 1
	var ts syscall.Timespec
	wall = time.Now()
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return wall, 0
	}
	return wall, uint64(ts.Nano())
}
