// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
)

// wire is a socket that sends whole frames at one place and sees what arrives
// there.
type wire struct {
	name string
	fd   int
	mac  net.HardwareAddr // of the interface; nil for a delivery
	read [][]byte
}

// newWire opens an interface of a namespace for whole frames.
func newWire(ns *netns.Namespace, ifname string) (*wire, error) {
	link, err := ns.Link.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", ifname, ns.Name, err)
	}
	w := &wire{name: ns.Name, fd: -1, mac: link.Attrs().HardwareAddr}
	err = ns.Do(func() error {
		const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index}))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s of %s: %w", ifname, ns.Name, err), w.close())
	}
	return w, nil
}

// newDelivery sees what the stack of a namespace takes for itself of one
// protocol.
func newDelivery(ns *netns.Namespace, family, protocol int) (*wire, error) {
	w := &wire{name: ns.Name, fd: -1}
	err := ns.Do(func() (err error) {
		w.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raw socket for protocol %d in %s: %w", protocol, ns.Name, err)
	}
	return w, nil
}

func (w *wire) close() error {
	if w == nil || w.fd < 0 {
		return nil
	}
	return unix.Close(w.fd)
}

func (w *wire) send(frame []byte) error {
	for {
		_, err := unix.Write(w.fd, frame)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
			fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds, 10)
		default:
			return fmt.Errorf("send %d bytes from %s: %w", len(frame), w.name, err)
		}
	}
}

// drain reads what has arrived, but not what was sent from here.
func (w *wire) drain() error {
	buffer := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive at %s: %w", w.name, err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		w.read = append(w.read, bytes.Clone(buffer[:n]))
	}
}

// has reports whether a frame with these bytes in it has arrived.
func (w *wire) has(mark []byte) (bool, error) {
	if err := w.drain(); err != nil {
		return false, err
	}
	for _, frame := range w.read {
		if bytes.Contains(frame, mark) {
			return true, nil
		}
	}
	return false, nil
}

// patience with what must happen; all of it passes only where something is
// wrong.
const patience = 3 * time.Second

// eventually reports whether a condition held before the deadline.
func eventually(holds func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil || time.Now().After(deadline) {
			return ok, err
		}
		<-tick.C
	}
}
