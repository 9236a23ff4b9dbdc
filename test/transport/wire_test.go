// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/packet"
)

const everyProtocol = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // network order

// longest is the length of the longest frame that has arrived, in bytes.
func longest(t *netns.Tap) (longest int, err error) {
	err = t.Drain(func(_ []byte, length int) { longest = max(longest, length) })
	return longest, err
}

// A transmit ring of one frame: its header, then the data (see
// Documentation/networking/packet_mmap.rst, TPACKET_V1).
const (
	ringFrame  = 2048
	ringBlock  = 4096
	ringData   = 32 // TPACKET_ALIGN(sizeof(struct tpacket_hdr))
	ringLength = 8  // offset of tp_len
	ringReady  = 1  // TP_STATUS_SEND_REQUEST
)

// ringDatagram sends a UDP datagram of web through a transmit ring, and reports
// whether it arrived at the far host.
func (s *stage) ringDatagram(web, far netip.Addr, port uint16, limit time.Duration) (arrived bool, err error) {
	arrivals, err := s.far.Tap("eth0")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, arrivals.Close()) }()
	frame, err := packet.UDP(netip.AddrPortFrom(web, 40000), netip.AddrPortFrom(far, port), []byte("from a ring")...).Frame()
	if err != nil {
		return false, err
	}
	copy(frame, s.gatewayMAC())
	copy(frame[6:], s.web.MAC)
	if err := s.web.Do(func() error { return sendByRing("eth0", frame) }); err != nil {
		return false, err
	}
	return sees(arrivals, port, limit)
}

func (s *stage) gatewayMAC() net.HardwareAddr {
	if bridge, err := s.node.Link.LinkByName("cni0"); err == nil {
		return bridge.Attrs().HardwareAddr
	}
	return s.web.HostMAC
}

func sendByRing(ifname string, frame []byte) error {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := unix.TpacketReq{Block_size: ringBlock, Block_nr: 1, Frame_size: ringFrame, Frame_nr: ringBlock / ringFrame}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_TX_RING, &request); err != nil {
		return fmt.Errorf("transmit ring: %w", err)
	}
	ring, err := unix.Mmap(fd, 0, ringBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map transmit ring: %w", err)
	}
	defer func() { _ = unix.Munmap(ring) }()
	copy(ring[ringData:], frame)
	binary.NativeEndian.PutUint32(ring[ringLength:], uint32(len(frame)))
	binary.NativeEndian.PutUint64(ring, ringReady)
	return unix.Sendto(fd, nil, 0, &unix.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: iface.Index})
}

// sees waits for a UDP datagram to a port.
func sees(t *netns.Tap, port uint16, limit time.Duration) (seen bool, err error) {
	for end := time.Now().Add(limit); !seen && err == nil && time.Now().Before(end); {
		netns.WaitTaps([]*netns.Tap{t}, 10*time.Millisecond)
		err = t.Drain(func(frame []byte, _ int) {
			p := transportHeader(frame)
			seen = seen || len(p) >= 4 && binary.BigEndian.Uint16(p[2:]) == port
		})
	}
	return seen, err
}

// transportHeader of a UDP datagram without options; nil of all else.
func transportHeader(frame []byte) []byte {
	switch {
	case len(frame) > 42 && frame[12] == 8 && frame[14] == 0x45 && frame[23] == unix.IPPROTO_UDP:
		return frame[34:]
	case len(frame) > 62 && frame[12] == 0x86 && frame[20] == unix.IPPROTO_UDP:
		return frame[54:]
	}
	return nil
}

// offload turns checksum and segmentation offload of an interface off or on.
func offload(ns *netns.Namespace, ifname string, on bool) (restore func() error, err error) {
	set := func(value uint32) error {
		return ns.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for _, command := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
				argument := struct{ command, value uint32 }{command, value}
				request, err := unix.NewIfreq(ifname)
				if err != nil {
					return err
				}
				raw := struct {
					name [unix.IFNAMSIZ]byte
					data unsafe.Pointer
					pad  [16]byte
				}{data: unsafe.Pointer(&argument)}
				copy(raw.name[:], request.Name())
				if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&raw))); errno != 0 {
					return fmt.Errorf("ethtool command %#x on %s: %w", command, ifname, errno)
				}
			}
			return nil
		})
	}
	value := map[bool]uint32{true: 1}
	return func() error { return set(value[!on]) }, set(value[on])
}
