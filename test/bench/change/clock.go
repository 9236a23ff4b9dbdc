// SPDX-License-Identifier: Apache-2.0

package change

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// now is CLOCK_MONOTONIC, which the witnesses' process shares, unlike the
// readings of time.Now.
//
// The two functions here leave the Go scheduler alone: a thread that asks it
// for leave to go on would be as late as those of normal priority.
//
//go:nosplit
func now() time.Duration {
	var t unix.Timespec
	unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Sec)*time.Second + time.Duration(t.Nsec)
}

// sleepUntil a time of now. Signals do not end it.
//
//go:nosplit
func sleepUntil(at time.Duration) {
	t := unix.Timespec{Sec: int64(at / time.Second), Nsec: int64(at % time.Second)}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
		if errno != unix.EINTR {
			return
		}
	}
}
