// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
)

// Echo answers TCP and UDP on one port of every address of a namespace with
// what it received.
type Echo struct {
	listener net.Listener
	packets  []net.PacketConn // one an address, so that answers come from the address asked
	wait     sync.WaitGroup

	taken atomic.Pointer[atomic.Int64]

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Count has the server add each TCP connection and each UDP packet that it
// takes from now on.
func (e *Echo) Count(taken *atomic.Int64) { e.taken.Store(taken) }

func (e *Echo) count() {
	if taken := e.taken.Load(); taken != nil {
		taken.Add(1)
	}
}

// ServeEcho listens inside the namespace until Close.
func (n *Namespace) ServeEcho(port uint16) (*Echo, error) {
	e := &Echo{conns: map[net.Conn]struct{}{}}
	addrs, err := n.addrs()
	if err == nil {
		err = n.Do(func() error { return e.listen(addrs, port) })
	}
	if err != nil {
		return nil, fmt.Errorf("echo on %s port %d: %w", n.Name, port, errors.Join(err, e.closeSockets()))
	}
	e.wait.Go(e.acceptTCP)
	for _, packets := range e.packets {
		e.wait.Go(func() { e.answerUDP(packets) })
	}
	return e, nil
}

func (e *Echo) listen(addrs []netip.Addr, port uint16) (err error) {
	if e.listener, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
		return err
	}
	for _, addr := range addrs {
		packets, err := net.ListenPacket("udp", netip.AddrPortFrom(addr, port).String())
		if err != nil {
			return err
		}
		e.packets = append(e.packets, packets)
	}
	return nil
}

// addrs lists the addresses of the namespace that others can reach.
func (n *Namespace) addrs() ([]netip.Addr, error) {
	list, err := n.Link.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", n.Name, err)
	}
	seen := map[netip.Addr]bool{}
	var addrs []netip.Addr
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		if ok && !seen[addr] && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

func (e *Echo) acceptTCP() {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			return
		}
		e.count()
		e.mu.Lock()
		e.conns[conn] = struct{}{}
		e.mu.Unlock()
		e.wait.Go(func() {
			_, _ = io.Copy(conn, conn)
			conn.Close()
			e.mu.Lock()
			delete(e.conns, conn)
			e.mu.Unlock()
		})
	}
}

func (e *Echo) answerUDP(packets net.PacketConn) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			e.count()
			_, _ = packets.WriteTo(buffer[:n], from)
		}
	}
}

// Close ends the server and its connections, and waits for its goroutines.
func (e *Echo) Close() error {
	err := e.closeSockets()
	e.mu.Lock()
	for conn := range e.conns {
		conn.Close()
	}
	e.mu.Unlock()
	e.wait.Wait()
	return err
}

func (e *Echo) closeSockets() error {
	var errs []error
	if e.listener != nil {
		errs = append(errs, e.listener.Close())
	}
	for _, packets := range e.packets {
		errs = append(errs, packets.Close())
	}
	return errors.Join(errs...)
}

// Dial connects from inside the namespace; network is "tcp" or "udp".
func (n *Namespace) Dial(network string, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() (err error) {
		dialer := net.Dialer{Timeout: timeout}
		conn, err = dialer.Dial(network, to.String())
		return err
	})
	return conn, err
}

// Exchange sends a message over conn and waits until it came back.
func Exchange(conn net.Conn, message string, timeout time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("send to %s: %w", conn.RemoteAddr(), err)
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(conn, back); err != nil {
		return fmt.Errorf("answer from %s: %w", conn.RemoteAddr(), err)
	}
	if string(back) != message {
		return fmt.Errorf("answer from %s: %q is not %q", conn.RemoteAddr(), back, message)
	}
	return nil
}

// Try reports whether an echo server at to answers; a refusal or silence
// within the timeout is an error.
func (n *Namespace) Try(network string, to netip.AddrPort, timeout time.Duration) error {
	conn, err := n.Dial(network, to, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	return Exchange(conn, "weir", timeout)
}
