// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// A ring wakes its reader once, when it becomes half full: 37 of the 112 bytes
// of a record are more than half of 8192.
func TestWakeUp(t *testing.T) {
	const half = 37
	m := machine(t, func(o *Options) { o.RingBytes = 8192 })
	for ring, port := range []string{"C:53", "C:54"} {
		w := newWorld(t, m, four())
		waiter := newWaiter(w, bpf.WeirRing(ring))
		send := func(n int) {
			frame, err := w.udp(fmt.Sprintf("A:%d", 1000+n), port).Frame()
			w.must(err)
			_, err = m.execute(FromPod, frame, Context{Ifindex: m.Link(linkA)})
			w.must(err)
		}
		for n := range half - 1 {
			send(n)
		}
		if waiter.woken(0) {
			t.Errorf("ring %d: a wake-up before it is half full", ring)
		}
		send(half)
		if !waiter.woken(5000) {
			t.Errorf("ring %d: no wake-up when it is half full", ring)
		}
		for n := range 20 {
			send(half + 1 + n)
		}
		if waiter.woken(0) {
			t.Errorf("ring %d: a second wake-up before the reader came", ring)
		}
		waiter.close()
	}
}

// waiter stands in the queue of a ring: readiness is told by a wake-up alone,
// as it is edge-triggered and the ring was empty at the beginning.
type waiter struct {
	w     *world
	epoll int
}

func newWaiter(w *world, ring bpf.WeirRing) waiter {
	w.t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	w.must(err)
	file := w.m.objects.EventsAllowed.FD()
	if ring == bpf.WeirRingRING_DENIED {
		file = w.m.objects.EventsDenied.FD()
	}
	w.must(unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, file, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(file)}))
	return waiter{w, epoll}
}

// woken waits for at most so many milliseconds.
func (q waiter) woken(limit int) bool {
	q.w.t.Helper()
	events := make([]unix.EpollEvent, 1)
	for {
		n, err := unix.EpollWait(q.epoll, events, limit)
		if err == unix.EINTR {
			continue
		}
		q.w.must(err)
		return n > 0
	}
}

func (q waiter) close() { q.w.must(unix.Close(q.epoll)) }
