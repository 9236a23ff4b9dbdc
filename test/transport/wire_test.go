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

// tap sees the frames of an interface.
type tap struct{ fd int }

func newTap(ns *netns.Namespace, ifname string) (tap, error) {
	t := tap{-1}
	link, err := ns.Link.LinkByName(ifname)
	if err != nil {
		return t, err
	}
	err = ns.Do(func() error {
		if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: link.Attrs().Index}))
	})
	return t, err
}

func (t tap) close() { unix.Close(t.fd) }

// longest is the length of the longest frame so far, in bytes.
func (t tap) longest() (longest int, err error) {
	buffer := make([]byte, 128)
	for {
		n, _, err := unix.Recvfrom(t.fd, buffer, unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) {
			return longest, nil
		}
		if err != nil {
			return longest, err
		}
		longest = max(longest, n)
	}
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
	arrivals, err := newTap(s.far, "eth0")
	if err != nil {
		return false, err
	}
	defer arrivals.close()
	frame, err := packet.UDP(netip.AddrPortFrom(web, 40000), netip.AddrPortFrom(far, port), []byte("from a ring")...).Frame()
	if err != nil {
		return false, err
	}
	copy(frame, s.gatewayMAC())
	copy(frame[6:], s.web.MAC)
	if err := s.web.Do(func() error { return sendByRing("eth0", frame) }); err != nil {
		return false, err
	}
	return arrivals.sees(port, limit), nil
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
func (t tap) sees(port uint16, limit time.Duration) bool {
	buffer := make([]byte, 256)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n, _, err := unix.Recvfrom(t.fd, buffer, 0)
		if err != nil {
			continue
		}
		if p := transportHeader(buffer[:n]); len(p) >= 4 && binary.BigEndian.Uint16(p[2:]) == port {
			return true
		}
	}
	return false
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
