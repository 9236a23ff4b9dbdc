// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// AnswerLimit of a call. It is below the second after which TCP sends a lost
// SYN again: one lost packet shall be seen.
const AnswerLimit = 900 * time.Millisecond

// caller of one target.
type caller struct {
	target Target
	every  time.Duration
	counter
	wait sync.WaitGroup
}

// run until the context ends, and then until every call has ended too. The
// first call is made at once.
func (c *caller) run(ctx context.Context) {
	defer c.wait.Wait()
	if c.target.Kind == Stream {
		c.stream(ctx)
		return
	}
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		c.wait.Go(c.call)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// call that has begun is not given up when the run ends.
func (c *caller) call() {
	c.attempt()
	began := time.Now()
	c.end(began, once(c.target))
}

// once on a socket of its own, with an echo.
func once(t Target) error {
	limit := time.Now().Add(AnswerLimit)
	conn, err := dial(t, limit)
	if err != nil {
		return err
	}
	return errors.Join(exchange(conn, limit, "once"), conn.Close())
}

func dial(t Target, limit time.Time) (net.Conn, error) {
	network := "tcp"
	if t.Kind == Datagram {
		network = "udp"
	}
	dialer := net.Dialer{Deadline: limit}
	return dialer.Dial(network, t.Address.String())
}

// stream on one connection. If none can be made it tries again, as a pod that
// starts before its server does; each try counts.
func (c *caller) stream(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	var conn net.Conn
	for ctx.Err() == nil {
		c.attempt()
		began := time.Now()
		var err error
		if conn == nil {
			conn, err = net.DialTimeout("tcp", c.target.Address.String(), AnswerLimit)
		}
		if err == nil {
			err = exchange(conn, time.Now().Add(AnswerLimit), "and on")
		}
		c.end(began, err)
		if err != nil && conn != nil {
			conn.Close()
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	if conn != nil {
		conn.Close()
	}
}

// exchange a message and its echo.
func exchange(conn net.Conn, limit time.Time, text string) error {
	if err := conn.SetDeadline(limit); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return err
	}
	answer := make([]byte, len(text))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if !bytes.Equal(answer, []byte(text)) {
		return errors.New("answered with something else")
	}
	return nil
}
