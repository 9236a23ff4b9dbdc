// SPDX-License-Identifier: Apache-2.0

package change

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// receiver tells when each datagram arrived, by now.
type receiver struct {
	conn     net.PacketConn
	arrivals chan time.Duration
	done     chan struct{}
}

func newReceiver(pod *netns.Pod, at netip.AddrPort) (*receiver, error) {
	r := &receiver{arrivals: make(chan time.Duration, 1024), done: make(chan struct{})}
	err := pod.Do(func() (err error) {
		r.conn, err = net.ListenPacket("udp", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	go r.run()
	return r, nil
}

func (r *receiver) run() {
	defer close(r.arrivals)
	var buffer [64]byte
	for {
		if _, _, err := r.conn.ReadFrom(buffer[:]); err != nil {
			return
		}
		select {
		case r.arrivals <- now():
		case <-r.done:
			return
		}
	}
}

func (r *receiver) close() error {
	close(r.done)
	err := r.conn.Close()
	for range r.arrivals { // until run has ended
	}
	return err
}

// heard is what arrived within a pause.
type heard struct {
	first, last time.Duration // by now
	count       int
}

// listen until a pause is over.
func (r *receiver) listen(pause time.Duration) heard {
	var h heard
	for over := time.After(pause); ; {
		select {
		case at := <-r.arrivals:
			if h.count == 0 {
				h.first = at
			}
			h.last = at
			h.count++
		case <-over:
			return h
		}
	}
}
