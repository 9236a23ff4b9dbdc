// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/bench/record"
)

// PeerCommand is the first argument of a process that is one end: then follow
// "client" or the name of a workload, the address and port to serve or call,
// and the path of a FIFO on which the server of one-way UDP tells of bursts.
const PeerCommand = "peer"

// Ports of the workloads.
const (
	portRequest = 7001
	portConnect = 7002
	portOneWay  = 7003
)

// burst is how many datagrams are sent before the sender waits until they were
// read. The word of it does not go through the network, so that the traffic is
// one-way.
const burst = 64

const payload = 18 // with it a frame has the least length of Ethernet

// Peer runs one end until its input ends or it is killed. It blocks in the
// kernel: no poller and no garbage collection in what is measured.
func Peer(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("peer %v: want an end, an address and a FIFO", args)
	}
	debug.SetGCPercent(-1)
	// A call that a signal ends is not taken up again where the socket has a
	// limit, and Go's scheduler sends signals.
	runtime.LockOSThread()
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return err
	}
	bursts, err := unix.Open(args[2], unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", args[2], err)
	}
	defer unix.Close(bursts)
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	switch args[0] {
	case "client":
		return serveCommands(client{at: address.Addr, bursts: bursts})
	case Request, Connect:
		return serveTCP(address)
	case OneWay:
		return serveUDP(address, bursts)
	}
	return fmt.Errorf("peer %q: no such end", args[0])
}

// serveTCP echoes bytes, one connection after the other.
func serveTCP(at *unix.SockaddrInet4) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, at); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(listener, 128); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		_ = unix.SetsockoptInt(conn, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		echo(conn)
		unix.Close(conn)
	}
}

func echo(conn int) {
	var b [1]byte
	for {
		n, err := unix.Read(conn, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if _, err := unix.Write(conn, b[:]); err != nil {
			return
		}
	}
}

// serveUDP tells when a burst has been read.
func serveUDP(at *unix.SockaddrInet4, bursts int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := unix.Bind(socket, at); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	fmt.Println("ready")
	var b [payload]byte
	for n := 1; ; n++ {
		_, err := unix.Read(socket, b[:])
		for err == unix.EINTR {
			_, err = unix.Read(socket, b[:])
		}
		if err != nil {
			return err
		}
		if n%burst == 0 {
			if _, err := unix.Write(bursts, b[:1]); err != nil {
				return fmt.Errorf("tell of a burst: %w", err)
			}
		}
	}
}

// serveCommands: a workload and a number of transactions on a line; the answer
// is a value, or the cause of a failure. The rest of the program runs the
// client as a process, so that it can live in a network namespace.
func serveCommands(c client) error {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var workload string
		var n int
		if _, err := fmt.Sscan(input.Text(), &workload, &n); err != nil {
			return fmt.Errorf("command %q: %w", input.Text(), err)
		}
		value, err := c.run(workload, n)
		if err != nil {
			fmt.Println("failed:", err)
			continue
		}
		fmt.Println(value)
	}
	return input.Err()
}

// client calls the servers at an address.
type client struct {
	at     [4]byte
	bursts int
}

func (c client) run(workload string, n int) (float64, error) {
	switch workload {
	case Request:
		return c.request(n)
	case Connect:
		return c.connect(n)
	case OneWay:
		return c.oneWay(n)
	}
	return 0, fmt.Errorf("workload %q: not known", workload)
}

// dial fails after two seconds, as reads do.
func (c client) dial(kind, port int) (int, error) {
	socket, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	limit := unix.Timeval{Sec: 2}
	_ = unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	_ = unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if kind == unix.SOCK_STREAM {
		_ = unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err := unix.Connect(socket, &unix.SockaddrInet4{Port: port, Addr: c.at}); err != nil {
		unix.Close(socket)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return socket, nil
}

func exchange(socket int) error {
	var b [1]byte
	if _, err := unix.Write(socket, b[:]); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	n, err := unix.Read(socket, b[:])
	if err != nil || n != 1 {
		return fmt.Errorf("answer of %d bytes: %w", n, err)
	}
	return nil
}

// request is the median latency in us over one connection.
func (c client) request(n int) (float64, error) {
	socket, err := c.dial(unix.SOCK_STREAM, portRequest)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	took := make([]time.Duration, n)
	for i := range took {
		begun := time.Now()
		if err := exchange(socket); err != nil {
			return 0, err
		}
		took[i] = time.Since(begun)
	}
	return float64(record.Median(took).Nanoseconds()) / 1000, nil
}

// connect is the same, with a connection for each.
func (c client) connect(n int) (float64, error) {
	took := make([]time.Duration, n)
	for i := range took {
		begun := time.Now()
		socket, err := c.dial(unix.SOCK_STREAM, portConnect)
		if err != nil {
			return 0, err
		}
		err = exchange(socket)
		unix.Close(socket)
		if err != nil {
			return 0, err
		}
		took[i] = time.Since(begun)
	}
	return float64(record.Median(took).Nanoseconds()) / 1000, nil
}

// oneWay is datagrams per second, of whole bursts.
func (c client) oneWay(n int) (float64, error) {
	socket, err := c.dial(unix.SOCK_DGRAM, portOneWay)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	var b [payload]byte
	n = (n + burst - 1) / burst * burst
	begun := time.Now()
	for i := 1; i <= n; i++ {
		if _, err := unix.Write(socket, b[:]); err != nil {
			return 0, fmt.Errorf("send: %w", err)
		}
		if i%burst == 0 {
			if err := c.awaitBurst(); err != nil {
				return 0, err
			}
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

func (c client) awaitBurst() error {
	fds := []unix.PollFd{{Fd: int32(c.bursts), Events: unix.POLLIN}}
	ready, err := unix.Poll(fds, 2000)
	for err == unix.EINTR {
		ready, err = unix.Poll(fds, 2000)
	}
	if err != nil || ready == 0 {
		return fmt.Errorf("a burst of %d datagrams was not read within 2 s: %w", burst, err)
	}
	var b [1]byte
	_, err = unix.Read(c.bursts, b[:])
	return err
}
