// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
)

func TestTransport(t *testing.T) {
	for _, w := range []struct {
		name   string
		prefix string
		wiring netns.Wiring
	}{{"routed", "tpr", netns.Routed}, {"bridged", "tpb", netns.Bridged}} {
		t.Run(w.name, func(t *testing.T) {
			s := newStage(t, w.prefix, w.wiring)
			for i, family := range []string{"IPv4", "IPv6"} {
				web, client, far := s.web.Addrs[i], s.client.Addrs[i], farAddrs[i]
				t.Run(family, func(t *testing.T) {
					t.Run("segments larger than the link", func(t *testing.T) { s.largeSegments(t, web) })
					t.Run("UDP segments", func(t *testing.T) { s.segmentedUDP(t, web) })
					t.Run("fragments", func(t *testing.T) { s.fragments(t, web) })
					t.Run("a path that shrinks", func(t *testing.T) { s.narrowPath(t, far) })
					t.Run("simultaneous open", func(t *testing.T) { s.simultaneousOpen(t, web, client) })
					t.Run("a port used again", func(t *testing.T) { s.portReuse(t, web) })
					t.Run("headers in pages", func(t *testing.T) { s.pages(t, web, far) })
					t.Run("no offload", func(t *testing.T) { s.withoutOffload(t, web) })
				})
			}
		})
	}
}

// transfer sends size bytes to an echo server and gets them all back.
func transfer(from *netns.Namespace, to netip.AddrPort, size int) error {
	conn, err := from.Dial("tcp", to, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(sent) // never fails
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		failed <- err
	}()
	back := make([]byte, size)
	_, err = io.ReadFull(conn, back)
	if err = errors.Join(err, <-failed); err != nil {
		return fmt.Errorf("transfer of %d bytes to %s: %w", size, to, err)
	}
	if !bytes.Equal(sent, back) {
		return fmt.Errorf("transfer of %d bytes to %s: came back changed", size, to)
	}
	return nil
}

// largeSegments: one packet on the veth is many on a wire, and is counted so.
func (s *stage) largeSegments(t *testing.T, web netip.Addr) {
	const size, mtu = 4 << 20, 1500
	tap, err := s.web.Tap("eth0")
	must(t, err)
	defer func() { must(t, tap.Close()) }()
	before := s.established(t)
	must(t, transfer(s.client.Namespace, netip.AddrPortFrom(web, port), size))
	after := s.established(t)
	longest, err := longest(tap)
	must(t, err)
	if longest <= mtu+14 {
		t.Fatalf("the longest frame has %d bytes: this kernel does not segment late here, so nothing is tested", longest)
	}
	packets, octets := after.packets-before.packets, after.octets-before.octets
	if octets < size || packets < octets/mtu {
		t.Errorf("counted %.0f packets of %.0f bytes towards web for %d bytes of data: want at least the data, and no packet above %d", packets, octets, size, mtu)
	}
}

type traffic struct{ packets, octets float64 }

// established is what the agent counts of known flows towards pods.
func (s *stage) established(t *testing.T) (sum traffic) {
	t.Helper()
	for name, into := range map[string]*float64{"packets": &sum.packets, "bytes": &sum.octets} {
		value, err := s.Metric(fmt.Sprintf("weir_%s_total{direction=\"ingress\",reason=\"established\"}", name))
		must(t, err)
		*into = value
	}
	return sum
}

// segmentedUDP: one send is many datagrams.
func (s *stage) segmentedUDP(t *testing.T, web netip.Addr) {
	const segment, count = 1000, 20
	for to, wanted := range map[uint16]int{port: count, shut: 0} {
		conn, err := s.client.Dial("udp", netip.AddrPortFrom(web, to), patience)
		must(t, err)
		defer conn.Close()
		raw, err := conn.(*net.UDPConn).SyscallConn()
		must(t, err)
		var set error
		must(t, raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
		}))
		must(t, set)
		_, err = conn.Write(make([]byte, segment*count))
		must(t, err)
		if got := answers(conn, wanted); got != wanted {
			t.Errorf("port %d: %d of %d datagrams were answered, want %d", to, got, count, wanted)
		}
	}
}

// answers counts datagrams until there are as many as wanted, or for a while
// where none must come.
func answers(conn net.Conn, wanted int) int {
	limit := silence
	if wanted > 0 {
		limit = patience
	}
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	buffer := make([]byte, 65536)
	for n := 0; ; n++ {
		if wanted > 0 && n == wanted {
			return n
		}
		if _, err := conn.Read(buffer); err != nil {
			return n
		}
	}
}

func (s *stage) fragments(t *testing.T, web netip.Addr) {
	for to, passes := range map[uint16]bool{port: true, shut: false} {
		conn, err := s.client.Dial("udp", netip.AddrPortFrom(web, to), patience)
		must(t, err)
		defer conn.Close()
		limit := silence
		if passes {
			limit = patience
		}
		err = netns.Exchange(conn, strings.Repeat("weir", 1000), limit)
		if (err == nil) != passes {
			t.Errorf("port %d: %v, want to pass: %t", to, err, passes)
		}
	}
}

// narrowPath: the router says that packets are too big, through a default
// deny. Without its word the connection stands still.
func (s *stage) narrowPath(t *testing.T, far netip.Addr) {
	before, err := s.Metric(`weir_packets_total{direction="ingress",reason="related"}`)
	must(t, err)
	must(t, transfer(s.web.Namespace, netip.AddrPortFrom(far, port), 1<<20))
	after, err := s.Metric(`weir_packets_total{direction="ingress",reason="related"}`)
	must(t, err)
	if after == before {
		t.Error("no router had to say that a packet was too big: nothing is tested")
	}
	if err := s.web.Try("tcp", netip.AddrPortFrom(far, shut), silence); err == nil {
		t.Errorf("port %d of %s answers, and no policy allows it", shut, far)
	}
}

// simultaneousOpen: web calls client, which it may not, and client calls web
// from and to the same ports. Where web takes the call, that opens the way for
// both sides' packets of the connection; else nothing does.
func (s *stage) simultaneousOpen(t *testing.T, web, client netip.Addr) {
	for webPort, passes := range map[uint16]bool{crossed: true, shut + 1000: false} {
		limit := patience
		if !passes {
			limit = 1500 * time.Millisecond
		}
		err := s.crossing(netip.AddrPortFrom(web, webPort), netip.AddrPortFrom(client, 45678), limit)
		if (err == nil) != passes {
			t.Errorf("port %d: %v, want both to connect: %t", webPort, err, passes)
		}
	}
}

func (s *stage) crossing(web, client netip.AddrPort, limit time.Duration) error {
	errs := make(chan error, 2)
	var held []net.Conn // closed when both have connected: the end of one ends the other
	var mu sync.Mutex
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	call := func(ns *netns.Namespace, from, to netip.AddrPort) {
		errs <- ns.Do(func() error {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: limit}
			conn, err := d.Dial("tcp", to.String())
			if err == nil {
				mu.Lock()
				held = append(held, conn)
				mu.Unlock()
			}
			return err
		})
	}
	told := s.Told()
	go call(s.web.Namespace, web, client)
	for begun := time.Now(); s.Find(told, func(f *weirv1.Flow) bool {
		return f.GetSource().GetPort() == uint32(web.Port()) && f.GetVerdict() == weirv1.Verdict_VERDICT_DENIED
	}) == nil; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			return errors.Join(errors.New("web's call was not denied"), <-errs)
		}
	}
	go call(s.client.Namespace, client, web)
	return errors.Join(<-errs, <-errs)
}

// portReuse: a port is taken again at once after a reset, again and again.
func (s *stage) portReuse(t *testing.T, web netip.Addr) {
	for i := range 5 {
		err := s.client.Do(func() error {
			d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{Port: 45999}, Control: func(_, _ string, raw syscall.RawConn) error {
				var set error
				err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
				return errors.Join(err, set)
			}}
			conn, err := d.Dial("tcp", netip.AddrPortFrom(web, port).String())
			if err != nil {
				return err
			}
			err = netns.Exchange(conn, "weir", patience)
			return errors.Join(err, conn.(*net.TCPConn).SetLinger(0), conn.Close())
		})
		if err != nil {
			t.Fatalf("connection %d from the same port: %v", i+1, err)
		}
	}
}

// pages: packets of a transmit ring have their headers in pages, not in the
// linear part that programs can read directly.
func (s *stage) pages(t *testing.T, web, far netip.Addr) {
	for to, passes := range map[uint16]bool{port: true, shut: false} {
		limit := silence
		if passes {
			limit = patience
		}
		seen, err := s.ringDatagram(web, far, to, limit)
		must(t, err)
		if seen != passes {
			t.Errorf("datagram to port %d: arrived %t, want %t", to, seen, passes)
		}
	}
}

// withoutOffload: every packet has its checksum and fits the link.
func (s *stage) withoutOffload(t *testing.T, web netip.Addr) {
	restore, err := offload(s.client.Namespace, "eth0", false)
	must(t, err)
	defer func() { must(t, restore()) }()
	must(t, transfer(s.client.Namespace, netip.AddrPortFrom(web, port), 1<<20))
}
