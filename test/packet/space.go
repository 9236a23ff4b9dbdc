// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name. It lives as long as the file,
// so that a killed test leaves nothing behind.
type space struct {
	file  *os.File
	links []uint32
}

func newSpace(pairs int) (*space, error) {
	s := &space{}
	err := aside(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		var err error
		if s.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return s.connect(pairs)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network namespace: %w", err), s.close())
	}
	return s, nil
}

// connect makes the pairs. Only the ifindex of the host's end is ever used:
// test runs carry no packet over a link.
func (s *space) connect(pairs int) error {
	for n := range pairs {
		host := fmt.Sprintf("weir-pkt%d", n)
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: fmt.Sprintf("weir-pod%d", n)}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("add veth %s: %w", host, err)
		}
		link, err := netlink.LinkByName(host)
		if err != nil {
			return fmt.Errorf("find veth %s: %w", host, err)
		}
		s.links = append(s.links, uint32(link.Attrs().Index))
	}
	return nil
}

// inside calls f in the namespace.
func (s *space) inside(f func() error) error {
	return aside(func() error { return unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET) }, f)
}

func (s *space) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// aside calls f on a thread that enter has moved to another namespace, and
// moves it back. A thread that cannot go back stays locked, and so ends with
// its goroutine.
func aside(enter, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter (root is needed): %w", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
