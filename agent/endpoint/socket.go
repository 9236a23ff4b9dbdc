// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errOverrun: the kernel had more to tell than the socket holds, so notices
// are lost.
var errOverrun = errors.New("notices were lost")

// socket receives notices of rtnetlink. It is not the library's, which keeps
// no ancillary data, where the namespace of a notice stands.
type socket struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
	oob  []byte
}

// receiveBuffer is in bytes. A node that starts 100 pods at once sends about
// 1,000 notices of 1 to 2 KiB.
const receiveBuffer = 4 << 20

// openSocket subscribes to groups. foreign: also of other namespaces, as far
// as this one has an id for them (which it has for those that its veths lead
// to).
func openSocket(foreign bool, groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "rtnetlink"), buf: make([]byte, 64<<10), oob: make([]byte, 64)}
	if err := s.setup(fd, foreign, groups); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *socket) setup(fd int, foreign bool, groups []int) error {
	// Without the right to pass the limit, the limit.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if foreign {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
			return fmt.Errorf("listen to other namespaces (CAP_NET_BROADCAST): %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	for _, group := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join rtnetlink group %d: %w", group, err)
		}
	}
	conn, err := s.file.SyscallConn()
	s.conn = conn
	return err
}

func (s *socket) close() error { return s.file.Close() }

// receive waits for notices; elsewhere: they are of the namespace with the id
// netns. After close it gives
// an error.
func (s *socket) receive() (messages []syscall.NetlinkMessage, elsewhere bool, netns int, err error) {
	var n, oobn, flags int
	var sender unix.Sockaddr
	var failed error
	err = s.conn.Read(func(fd uintptr) bool {
		n, oobn, flags, sender, failed = unix.Recvmsg(int(fd), s.buf, s.oob, 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	switch {
	case err != nil:
		return nil, false, 0, err
	case errors.Is(failed, unix.ENOBUFS):
		return nil, false, 0, errOverrun
	case failed != nil:
		return nil, false, 0, os.NewSyscallError("recvmsg", failed)
	}
	// Any process may send to a netlink socket; only the kernel is port 0.
	if from, ok := sender.(*unix.SockaddrNetlink); !ok || from.Pid != 0 {
		return nil, false, 0, nil
	}
	messages, err = syscall.ParseNetlinkMessage(s.buf[:n])
	if err != nil || flags&unix.MSG_TRUNC != 0 {
		return nil, false, 0, errOverrun // cut short: as good as lost
	}
	netns, elsewhere = sourceOf(s.oob[:oobn])
	return messages, elsewhere, netns, nil
}

// sourceOf reads the namespace that a notice comes from, if it is another.
func sourceOf(oob []byte) (netns int, elsewhere bool) {
	control, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, c := range control {
		if c.Header.Level == unix.SOL_NETLINK && c.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(c.Data) >= 4 {
			id := int32(binary.NativeEndian.Uint32(c.Data))
			return int(id), id >= 0
		}
	}
	return 0, false
}
