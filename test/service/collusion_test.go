// SPDX-License-Identifier: Apache-2.0

package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
)

// A client outside and a pod that may neither receive nor send help each
// other. The client's packet by a node port is masqueraded, known to conntrack,
// and denied to the pod. If the pod then sends to the address and port of the
// node that stand for the client, conntrack takes this for the answer, and
// brings it to the client; and to the pod's own flow to the node the client's
// next packet looks like an answer in turn. Neither may pass.
func TestCollusion(t *testing.T) {
	bin := build(t)
	for i, hook := range []string{"netfilter", "xtables", "none"} {
		t.Run(hook, func(t *testing.T) {
			s := newStage(t, bin, setup{name: fmt.Sprintf("svk%d", i), hook: hook, dialect: nft, masq: true})
			for name, f := range families() {
				s.colludeUDP(name, f, 40001)
				// As if a Service of the node had answered.
				s.colludeUDP(name+" from the number of a node port", f, 30080)
			}
			s.colludeTCP(families()["IPv4"], 40002)
			s.colludeErrors(families()["IPv4"], 40003)
			if t.Failed() {
				out, _ := s.agent.Weir("observe", "--last", "0").CombinedOutput()
				t.Logf("%s", out)
			}
		})
	}
}

// Behind weir's program on the pod's veth stands one of somebody else, which
// ends the chain: that a packet calls the node must not be forgotten by it.
func TestCollusionBesideOthers(t *testing.T) {
	s := newStage(t, build(t), setup{name: "svo", hook: "netfilter", dialect: nft, masq: true})
	passes, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "passes", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 0), // TCX_PASS
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { report(t, passes.Close()) })
	must(t, s.node.Do(func() error {
		behind, err := link.AttachTCX(link.TCXOptions{Interface: s.pods["shut"].Ifindex, Program: passes, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
		if err == nil {
			t.Cleanup(func() { report(t, behind.Close()) })
		}
		return err
	}))
	for name, f := range families() {
		s.colludeUDP(name, f, 40001)
	}
	s.colludeTCP(families()["IPv4"], 40002)
}

func (s *stage) colludeUDP(name string, f family, source uint16) {
	s.t.Helper()
	client := s.datagrams(s.node.Outside, f.at("outside", source))
	defer client.Close()
	pod := s.datagrams(s.pods["shut"].Namespace, f.at("shut", 8080))
	defer pod.Close()
	ask := func() { must(s.t, send(client, f.at("node", 30083))) }
	ask()
	masked := s.masked(unix.IPPROTO_UDP, f.at("outside", source))
	s.t.Logf("%s: the pod knows its client as %s", name, masked)
	for range 3 {
		must(s.t, send(pod, masked))
		if from, got := receive(client); got {
			s.t.Errorf("%s: the pod's packet reached the client, from %s", name, from)
		}
		ask()
		if from, got := receive(pod); got {
			s.t.Errorf("%s: the client's packet reached the pod, from %s", name, from)
		}
	}
}

func (s *stage) datagrams(ns *netns.Namespace, at netip.AddrPort) (conn *net.UDPConn) {
	s.t.Helper()
	must(s.t, ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}))
	return conn
}

// send: an error of an earlier packet, such as a refusal, is none of this one.
func send(from *net.UDPConn, to netip.AddrPort) error {
	_, err := from.WriteToUDPAddrPort([]byte("weir"), to)
	if err != nil {
		_, err = from.WriteToUDPAddrPort([]byte("weir"), to)
	}
	return err
}

func receive(at *net.UDPConn) (from netip.AddrPort, got bool) {
	_ = at.SetReadDeadline(time.Now().Add(silence))
	for {
		_, from, err := at.ReadFromUDPAddrPort(make([]byte, 64))
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return from, err == nil
		}
	}
}

// masked waits for the connection that the client has begun, and returns what
// stands for the client in answers.
func (s *stage) masked(protocol uint8, client netip.AddrPort) (found netip.AddrPort) {
	s.t.Helper()
	family := netlink.InetFamily(unix.AF_INET)
	if client.Addr().Is6() {
		family = unix.AF_INET6
	}
	if !await(answerLimit, func() bool {
		must(s.t, s.node.Do(func() error {
			list, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			for _, c := range list {
				from, _ := netip.AddrFromSlice(c.Forward.SrcIP)
				if c.Forward.Protocol == protocol && netip.AddrPortFrom(from.Unmap(), c.Forward.SrcPort) == client {
					to, _ := netip.AddrFromSlice(c.Reverse.DstIP)
					found = netip.AddrPortFrom(to.Unmap(), c.Reverse.DstPort)
				}
			}
			return err
		}))
		return found.IsValid()
	}) {
		s.t.Fatalf("conntrack does not know %s", client)
	}
	if found == client {
		s.t.Fatalf("%s was not masqueraded: that proves nothing", client)
	}
	return found
}

const (
	sequence = 1000
	tcpSYN   = 0x02
	tcpACK   = 0x10
)

// colludeTCP: the client has told the pod its sequence number by other means.
func (s *stage) colludeTCP(f family, source uint16) {
	s.t.Helper()
	outside, pod := s.raw(s.node.Outside, unix.IPPROTO_TCP), s.raw(s.pods["shut"].Namespace, unix.IPPROTO_TCP)
	from, to := f.at("outside", source), f.at("node", 30083)
	must(s.t, sendSegment(outside, from, to, tcpSYN, sequence, 0))
	masked := s.masked(unix.IPPROTO_TCP, from)
	must(s.t, sendSegment(pod, f.at("shut", 8080), masked, tcpSYN|tcpACK, 7, sequence+1))
	if hears(outside, source) {
		s.t.Error("TCP: the pod's SYN-ACK reached the client")
	}
	must(s.t, sendSegment(outside, from, to, tcpACK, sequence+1, 8))
	if hears(pod, 8080) {
		s.t.Error("TCP: the client's ACK reached the pod")
	}
}

// colludeErrors: what the pod has to say stands in an ICMP error about the
// client's packet, which it knows without having received it.
func (s *stage) colludeErrors(f family, source uint16) {
	s.t.Helper()
	client := s.datagrams(s.node.Outside, f.at("outside", source))
	defer client.Close()
	pod := s.datagrams(s.pods["shut"].Namespace, f.at("shut", 8080))
	defer pod.Close()
	must(s.t, send(client, f.at("node", 30083)))
	masked := s.masked(unix.IPPROTO_UDP, f.at("outside", source))
	must(s.t, send(pod, masked)) // the flow that the error is about
	hear := s.raw(s.node.Outside, unix.IPPROTO_ICMP)
	say := s.raw(s.pods["shut"].Namespace, unix.IPPROTO_ICMP)
	must(s.t, unix.Sendto(say, unreachable(masked, f.at("shut", 8080)), 0, &unix.SockaddrInet4{Addr: masked.Addr().As4()}))
	buffer := make([]byte, 256)
	if n, _, err := unix.Recvfrom(hear, buffer, 0); err == nil {
		s.t.Errorf("the pod's ICMP error reached the client: % x", buffer[:n])
	}
}

// unreachable quotes a datagram from one to the other.
func unreachable(from, to netip.AddrPort) []byte {
	b := []byte{3, 3, 0, 0, 0, 0, 0, 0}
	header := []byte{0x45, 0, 0, 32, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	header = append(append(header, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	b = append(b, header...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = append(b, 0, 12, 0, 0, 'w', 'e', 'i', 'r')
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum&0xffff + sum>>16)
}

// raw is a socket that sends and receives packets of a protocol over IPv4.
func (s *stage) raw(ns *netns.Namespace, protocol int) (fd int) {
	s.t.Helper()
	must(s.t, ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	}))
	s.t.Cleanup(func() { unix.Close(fd) })
	limit := unix.NsecToTimeval(silence.Nanoseconds())
	must(s.t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	return fd
}

func sendSegment(fd int, from, to netip.AddrPort, flags uint8, seq, ack uint32) error {
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, uint8(len(b)))
	binary.BigEndian.PutUint16(b[16:], checksum(append(pseudo, b...)))
	return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}

// hears says whether a segment to this port arrives.
func hears(fd int, port uint16) bool {
	buffer := make([]byte, 256)
	for deadline := time.Now().Add(silence); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if header := int(buffer[0]&0xf) * 4; err == nil && n >= header+4 && binary.BigEndian.Uint16(buffer[header+2:]) == port {
			return true
		}
	}
	return false
}
