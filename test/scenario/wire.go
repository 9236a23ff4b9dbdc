// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/netns"
)

// tap keeps what it read.
type tap struct {
	*netns.Tap
	strip func(packet []byte) []byte // leaves layer 4
	read  [][]byte                   // layer 4 of what arrived
}

// newWire opens an interface for whole frames, in and out.
func newWire(ns *netns.Namespace, ifname string) (*tap, error) {
	t, err := ns.Tap(ifname)
	return &tap{Tap: t, strip: layer4OfFrame}, err
}

// newDelivery sees what a namespace itself receives of one protocol.
func newDelivery(ns *netns.Namespace, family int, protocol policy.Protocol) (*tap, error) {
	t, err := ns.TapDelivered(family, int(protocol))
	d := &tap{Tap: t, strip: func(b []byte) []byte { return b }}
	if family == unix.AF_INET {
		d.strip = layer4OfIPv4 // an IPv6 socket gives layer 4 alone
	}
	return d, err
}

// close may be called on a tap that never was.
func (w *tap) close() error {
	if w == nil {
		return nil
	}
	return w.Close()
}

// send puts a packet on the wire behind an Ethernet header.
func (w *tap) send(source, destination net.HardwareAddr, network []byte) error {
	frame := append(append(append([]byte{}, destination...), source...), 0x08, 0x00)
	if network[0]>>4 == 6 {
		copy(frame[12:], []byte{0x86, 0xdd})
	}
	return w.Send(append(frame, network...))
}

// drain reads what has arrived so far.
func (w *tap) drain() error {
	return w.Drain(func(data []byte, _ int) {
		if l4 := w.strip(data); len(l4) > 0 {
			w.read = append(w.read, bytes.Clone(l4))
		}
	})
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
	list := make([]*netns.Tap, len(taps))
	for i, w := range taps {
		list[i] = w.Tap
	}
	netns.WaitTaps(list, atMost)
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
