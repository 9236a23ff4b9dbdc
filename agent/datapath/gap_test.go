// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// stream sends datagrams from the node to two pods in turn, until stopped.
type stream struct {
	sent atomic.Uint64 // to each
	stop chan struct{}
	done chan error
}

func startStream(home netns.NsHandle, a, b netip.Addr) *stream {
	s := &stream{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends in this namespace
		s.done <- s.run(home, a, b)
	}()
	return s
}

func (s *stream) run(home netns.NsHandle, a, b netip.Addr) error {
	if err := netns.Set(home); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Other ports each time, or all but the first would belong to one flow.
	for port := 1024; ; port = 1024 + (port-1023)%60000 {
		select {
		case <-s.stop:
			return nil
		default:
		}
		for _, to := range []netip.Addr{a, b} {
			err := unix.Sendto(fd, []byte("weir"), 0, &unix.SockaddrInet4{Port: port, Addr: to.As4()})
			if err != nil && to == a {
				return fmt.Errorf("after %d to %s: %w", s.sent.Load(), to, err)
			}
		}
		s.sent.Add(1)
	}
}

func (s *stream) end(t *testing.T) uint64 {
	t.Helper()
	close(s.stop)
	check(t, <-s.done)
	return s.sent.Load()
}

// While agents come and go, and the first place is lost and taken again, a pod
// that may receive gets every packet, and one that may not gets none.
func TestNoGap(t *testing.T) {
	for _, anotherLayout := range []bool{false, true} {
		t.Run(fmt.Sprintf("another layout %v", anotherLayout), func(t *testing.T) {
			eachKind(t, func(t *testing.T, n *node) { noGap(t, n, anotherLayout) })
		})
	}
}

func noGap(t *testing.T, n *node, anotherLayout bool) {
	open, shut := n.pod("dpopen", 1), n.pod("dpshut", 2)
	n.opts.Sizes.Flows = 1 << 16
	start := func() *Datapath {
		d := n.load()
		check(t, d.Bind(open.binding()))
		check(t, d.Bind(shut.binding()))
		marks, err := d.Marks()
		check(t, err)
		check(t, d.Apply(compile.Update{Subjects: []compile.SubjectSets{open.sets(0, 0), shut.sets(marks.Set+1, resolve.SetID(marks.Set+1))}}))
		check(t, d.Finish())
		return d
	}
	d := start()
	seen := map[*pod]*observer{open: newObserver(t, "dp_open"), shut: newObserver(t, "dp_shut")}
	for p, o := range seen {
		p.static(t)
		o.onClsact(t, p.ifindex, ToPod, 9, 9)
	}
	before := seen[shut].seen(t)
	openBefore := seen[open].seen(t)
	s := startStream(n.home, open.addr, shut.addr)
	for round := range 3 {
		stop(t, d)
		if anotherLayout {
			n.opts.Sizes.Rows = uint32(17 + round)
		}
		d = start()
		for _, p := range []*pod{open, shut} {
			intruder := newObserver(t, "dp_intruder")
			if n.opts.Attach == AttachTCX {
				intruder.onTCX(t, p.ifindex, ToPod, link.Head())
			} else {
				intruder.onClsact(t, p.ifindex, ToPod, 1, uint32(50+round))
			}
		}
		for _, p := range restore(t, d) {
			check(t, p.Err)
		}
	}
	sent := s.end(t)
	stop(t, d)
	if sent < 1000 {
		t.Errorf("only %d packets were sent: that proves nothing", sent)
	}
	if got := seen[open].seen(t) - openBefore; got != sent {
		t.Errorf("of %d allowed packets %d passed", sent, got)
	}
	if got := seen[shut].seen(t) - before; got != 0 {
		t.Errorf("of %d denied packets %d passed", sent, got)
	}
	t.Logf("%d packets to each pod", sent)
}
