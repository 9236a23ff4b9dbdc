// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Clients watch what an agent watches, each over a connection of its own, and
// throw it away.
type Clients struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	bytes   atomic.Uint64 // received, TLS with its framing
	events  atomic.Uint64
	lists   sync.WaitGroup // open while a first list is not complete

	mu  sync.Mutex
	err error
}

// Start n clients, each when the one before has had its lists, as agents' starts
// are spread: with all at once the API server of a small machine ends watches
// whose lists wait for too long. config makes one for a connection that count
// wraps.
func Start(ctx context.Context, n int, node string, config func(wrap func(net.Conn) net.Conn) *rest.Config) (*Clients, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Clients{cancel: cancel}
	for range n {
		client, err := kubernetes.NewForConfig(config(func(conn net.Conn) net.Conn { return &counted{Conn: conn, n: &c.bytes} }))
		if err != nil {
			return c, errors.Join(err, c.Close())
		}
		for _, r := range resources(node) {
			c.lists.Add(1)
			c.running.Go(func() { c.fail(c.follow(ctx, client, r)) })
		}
		c.lists.Wait()
		if err := errors.Join(c.failed(), ctx.Err()); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Clients) follow(ctx context.Context, client kubernetes.Interface, r resource) error {
	listed := sync.OnceFunc(c.lists.Done)
	defer listed()
	body, err := r.open(ctx, client)
	if err != nil {
		return ended(ctx, err)
	}
	defer body.Close()
	stream := frames{from: body}
	complete := false
	for {
		event, err := stream.next()
		if err != nil {
			return ended(ctx, fmt.Errorf("watch %s: %w", r.plural, err))
		}
		c.events.Add(1)
		if !complete && endsList(event) {
			complete = true
			listed()
		}
	}
}

func (c *Clients) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errors.Join(c.err, err)
}

func (c *Clients) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Count is what all clients have received so far. The error is that of a
// client that ended.
func (c *Clients) Count() (bytes, events uint64, err error) {
	return c.bytes.Load(), c.events.Load(), c.failed()
}

// Close ends them.
func (c *Clients) Close() error {
	c.cancel()
	c.running.Wait()
	return c.failed()
}

// counted is a connection that counts what it receives.
type counted struct {
	net.Conn
	n *atomic.Uint64
}

func (c *counted) Read(to []byte) (int, error) {
	n, err := c.Conn.Read(to)
	c.n.Add(uint64(n))
	return n, err
}
