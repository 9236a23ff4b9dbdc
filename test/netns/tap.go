// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Tap is a socket that sees what arrives at one place of a namespace, and one
// on an interface sends there as well. It never waits for packets. It is used
// by one goroutine.
type Tap struct {
	where  string
	fd     int
	mac    net.HardwareAddr
	buffer []byte // of Drain
}

// tapBuffer is what a tap holds of what nobody has read, in bytes.
const tapBuffer = 16 << 20

// everyProtocol in network byte order.
const everyProtocol = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00

// Tap opens an interface for whole frames: what comes in there, before tc
// programs and netfilter.
func (n *Namespace) Tap(ifname string) (*Tap, error) {
	link, err := n.Link.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", ifname, n.Name, err)
	}
	t := &Tap{where: ifname + " of " + n.Name, fd: -1, mac: link.Attrs().HardwareAddr}
	// Protocol 0 hears nothing until it is bound: else it would hear of other
	// interfaces in between.
	err = t.open(n, unix.AF_PACKET, 0, func() error {
		return errors.Join(
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
			unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: link.Attrs().Index}))
	})
	return t, err
}

// TapDelivered sees what the stack of a namespace takes for itself of one IP
// protocol: with unix.AF_INET from the IP header on, with unix.AF_INET6 what
// is behind the headers.
func (n *Namespace) TapDelivered(family, protocol int) (*Tap, error) {
	t := &Tap{where: fmt.Sprintf("protocol %d of %s", protocol, n.Name), fd: -1}
	return t, t.open(n, family, protocol, func() error { return nil })
}

// open closes again what prepare fails on.
func (t *Tap) open(n *Namespace, family, protocol int, prepare func() error) error {
	err := n.Do(func() (err error) {
		t.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return prepare()
	})
	if err != nil {
		return errors.Join(fmt.Errorf("listen at %s: %w", t.where, err), t.Close())
	}
	return nil
}

// Close may be called on a Tap that never opened, or nil.
func (t *Tap) Close() error {
	if t == nil || t.fd < 0 {
		return nil
	}
	fd := t.fd
	t.fd = -1
	return unix.Close(fd)
}

// MAC is the address of the interface; nil without one.
func (t *Tap) MAC() net.HardwareAddr { return t.mac }

// Send puts a whole frame on the wire. It waits while there is no room.
func (t *Tap) Send(frame []byte) error {
	for {
		_, err := unix.Write(t.fd, frame)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
			fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds, 10)
		default:
			return fmt.Errorf("send %d bytes at %s: %w", len(frame), t.where, err)
		}
	}
}

// Drain calls see for each packet that has arrived, but not for what was sent
// from here. The bytes are valid until see returns; of more than 64 KiB, as
// the kernel hands over what it will segment later, the length is right and
// the rest is cut off.
func (t *Tap) Drain(see func(data []byte, length int)) error {
	if t.buffer == nil {
		t.buffer = make([]byte, 64<<10)
	}
	for {
		n, from, err := unix.Recvfrom(t.fd, t.buffer, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive at %s: %w", t.where, err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		see(t.buffer[:min(n, len(t.buffer))], n)
	}
}

// WaitTaps until one of them has something to read, or the time is over.
func WaitTaps(taps []*Tap, atMost time.Duration) {
	fds := make([]unix.PollFd, len(taps))
	for i, t := range taps {
		fds[i] = unix.PollFd{Fd: int32(t.fd), Events: unix.POLLIN}
	}
	_, _ = unix.Poll(fds, int(atMost.Milliseconds()))
}
