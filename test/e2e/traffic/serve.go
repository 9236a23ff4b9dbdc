// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// server of echoes, which counts what arrives.
type server struct {
	mu       sync.Mutex
	arrivals map[netip.Addr]Arrivals
}

func (s *server) count(from netip.AddrPort, connections, datagrams int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := from.Addr().Unmap()
	a := s.arrivals[source]
	a.Connections += connections
	a.Datagrams += datagrams
	s.arrivals[source] = a
}

func (s *server) read() map[netip.Addr]Arrivals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.arrivals)
}

// streams echoes connections until the listener closes.
func (s *server) streams(listener *net.TCPListener) error {
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		s.count(conn.RemoteAddr().(*net.TCPAddr).AddrPort(), 1, 0)
		go func() {
			defer conn.Close()
			io.Copy(conn, conn) // the client's end of it is judged by the client
		}()
	}
}

// datagrams echoes each to its source.
func (s *server) datagrams(socket *net.UDPConn) error {
	buffer := make([]byte, 1500)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		s.count(from, 0, 1)
		if _, err := socket.WriteToUDPAddrPort(buffer[:n], from); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // a client that is gone
		}
	}
}

// Options of Run.
type Options struct {
	Targets []Target
	Every   time.Duration // from one call of a target to the next
	For     time.Duration // then it ends; 0: until it is told to
}

// Run calls and serves until the context ends or the time is over, and returns
// the totals. GET /totals gives those of the moment; GET /stop ends the calls,
// not the serving, and gives what they came to.
func Run(ctx context.Context, o Options) (Totals, error) {
	s := &server{arrivals: map[netip.Addr]Arrivals{}}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: PortTCP})
	if err != nil {
		return Totals{}, err
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: PortUDP})
	if err != nil {
		return Totals{}, err
	}
	defer udp.Close()

	calling, stop := context.WithCancel(ctx)
	if o.For > 0 {
		calling, stop = context.WithTimeout(ctx, o.For)
	}
	defer stop()
	var callers []*caller
	var calls sync.WaitGroup
	for _, t := range o.Targets {
		c := &caller{target: t, every: o.Every, counter: counter{calls: Calls{Target: t}}}
		callers = append(callers, c)
		calls.Go(func() { c.run(calling) })
	}
	totals := func() Totals {
		t := Totals{Arrivals: s.read()}
		for _, c := range callers {
			t.Calls = append(t.Calls, c.read())
		}
		return t
	}
	ended := make(chan error, 3)
	go func() { ended <- s.streams(tcp) }()
	go func() { ended <- s.datagrams(udp) }()
	page := http.Server{Addr: fmt.Sprintf(":%d", PortTotals), Handler: pages(totals, func() { stop(); calls.Wait() })}
	defer page.Close()
	go func() { ended <- page.ListenAndServe() }()

	over := ctx.Done()
	if o.For > 0 {
		over = calling.Done()
	}
	select {
	case <-over:
	case err := <-ended:
		return Totals{}, err
	}
	calls.Wait()
	return totals(), nil
}

func pages(totals func() Totals, stop func()) http.Handler {
	m := http.NewServeMux()
	write := func(w http.ResponseWriter) {
		if err := json.NewEncoder(w).Encode(totals()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	m.HandleFunc("GET /totals", func(w http.ResponseWriter, _ *http.Request) { write(w) })
	m.HandleFunc("GET /stop", func(w http.ResponseWriter, _ *http.Request) {
		stop()
		write(w)
	})
	return m
}
