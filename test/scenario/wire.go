// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/netns"
)

// tap is a socket that sees what arrives at one place. It keeps what it read.
type tap struct {
	fd    int
	strip func(packet []byte) []byte // leaves layer 4
	read  [][]byte                   // layer 4 of what arrived
}

// newWire opens an interface for whole frames, in and out.
func newWire(ns *netns.Namespace, ifname string) (*tap, error) {
	link, err := ns.Link.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", ifname, ns.Name, err)
	}
	w := &tap{fd: -1, strip: layer4OfFrame}
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

// newDelivery sees what a namespace itself receives of one protocol.
func newDelivery(ns *netns.Namespace, family int, protocol policy.Protocol) (*tap, error) {
	d := &tap{fd: -1, strip: func(b []byte) []byte { return b }}
	if family == unix.AF_INET {
		d.strip = layer4OfIPv4 // an IPv6 socket gives layer 4 alone
	}
	err := ns.Do(func() (err error) {
		d.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raw socket for %s in %s: %w", protocol, ns.Name, err)
	}
	return d, nil
}

func (w *tap) close() error {
	if w == nil || w.fd < 0 {
		return nil
	}
	return unix.Close(w.fd)
}

// send puts a packet on the wire behind an Ethernet header.
func (w *tap) send(source, destination net.HardwareAddr, network []byte) error {
	frame := append(append(append([]byte{}, destination...), source...), 0x08, 0x00)
	if network[0]>>4 == 6 {
		copy(frame[12:], []byte{0x86, 0xdd})
	}
	_, err := unix.Write(w.fd, append(frame, network...))
	return err
}

// drain reads what has arrived so far.
func (w *tap) drain() error {
	buffer := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if l4 := w.strip(buffer[:n]); len(l4) > 0 {
			w.read = append(w.read, bytes.Clone(l4))
		}
	}
}

// has reports whether layer 4 of a packet arrived. Frames may be padded.
func (w *tap) has(l4 []byte) bool {
	for _, r := range w.read {
		if bytes.HasPrefix(r, l4) {
			return true
		}
	}
	return false
}

// wait until one of them has something to read, or the time is over.
func wait(taps []*tap, atMost time.Duration) {
	fds := make([]unix.PollFd, len(taps))
	for i, w := range taps {
		fds[i] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}
	}
	_, _ = unix.Poll(fds, int(atMost.Milliseconds()))
}

func layer4OfFrame(frame []byte) []byte {
	if len(frame) < 14 {
		return nil
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		return layer4OfIPv4(frame[14:])
	case unix.ETH_P_IPV6:
		return layer4OfIPv6(frame[14:])
	}
	return nil
}

func layer4OfIPv4(b []byte) []byte {
	if len(b) < 20 || len(b) < int(b[0]&15)*4 {
		return nil
	}
	return b[int(b[0]&15)*4:]
}

func layer4OfIPv6(b []byte) []byte {
	if len(b) < 40 {
		return nil
	}
	return b[40:]
}

func layer4(network []byte) []byte {
	if network[0]>>4 == 6 {
		return layer4OfIPv6(network)
	}
	return layer4OfIPv4(network)
}

// sendFromStack lets a namespace send a finished packet as its own.
func sendFromStack(ns *netns.Namespace, network []byte, to netip.Addr) error {
	return ns.Do(func() error {
		family := unix.AF_INET6
		var address unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
		if to.Is4() {
			family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, network, 0, address)
	})
}
