// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// connect forwards one connection to the agent that is on the node now. No local
// port is opened: others of this machine could use it.
func (c *Cluster) connect(ctx context.Context, node string) (net.Conn, error) {
	pods, err := c.pods(ctx, node)
	if err != nil {
		return nil, err
	}
	to, err := askable(pods, node)
	if err != nil {
		return nil, err
	}
	dialer, err := c.dialer(to.pod)
	if err != nil {
		return nil, err
	}
	tunnel, err := dial(ctx, dialer)
	if err != nil {
		return nil, fmt.Errorf("forward a port of pod %s/%s: %w; you need create on pods/portforward in namespace %s", c.namespace, to.pod, err, c.namespace)
	}
	conn, err := through(tunnel, to.port)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("forward port %d of pod %s/%s: %w", to.port, c.namespace, to.pod, err), tunnel.Close())
	}
	return conn, nil
}

// dialer takes WebSockets, or SPDY where the server or a proxy knows no better.
func (c *Cluster) dialer(pod string) (httpstream.Dialer, error) {
	base, err := url.Parse(c.config.Host)
	if err != nil || base.Host == "" { // a host without a scheme
		base = &url.URL{Scheme: "https", Host: c.config.Host}
	}
	at := base.JoinPath("api/v1/namespaces", c.namespace, "pods", pod, "portforward")
	roundTripper, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, fmt.Errorf("prepare port forwarding: %w", err)
	}
	second := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, at)
	first, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, c.config)
	if err != nil {
		return nil, fmt.Errorf("prepare port forwarding: %w", err)
	}
	return portforward.NewFallbackDialerForStreaming(first, second, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// dial does not outlast ctx; the library's own knows none.
func dial(ctx context.Context, d httpstream.Dialer) (httpstream.Connection, error) {
	type result struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.conn.Close() // nobody waits for it any more
			}
		}()
		return nil, ctx.Err()
	}
}

// through opens the port behind a tunnel. The connection closes the tunnel.
func through(tunnel httpstream.Connection, port uint16) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	faults, err := tunnel.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	if err := faults.Close(); err != nil { // nothing is written there
		return nil, err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := tunnel.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	// A pipe has the deadlines that a stream lacks.
	near, far := net.Pipe()
	conn := &forwarded{Conn: near, failed: make(chan struct{})}
	go func() {
		defer close(conn.failed)
		// What the kubelet says, e.g. that nothing listens. Nothing, or the end
		// of the tunnel, is no fault of its own.
		if text, _ := io.ReadAll(io.LimitReader(faults, 4<<10)); len(text) > 0 {
			conn.fault = errors.New(string(text))
		}
	}()
	var ends sync.WaitGroup
	ends.Go(func() {
		_, _ = io.Copy(far, data)
		select { // the fault comes on another stream, and must not be cut off
		case <-conn.failed:
		case <-time.After(faultWait):
		}
		_ = far.Close()
	})
	ends.Go(func() { _, _ = io.Copy(data, far); _ = far.Close(); _ = data.Reset(); _ = tunnel.Close() })
	conn.ended = ends.Wait
	return conn, nil
}

// faultWait is how long the other side's word about a closed port is waited for.
const faultWait = time.Second

// forwarded is one connection through a tunnel.
type forwarded struct {
	net.Conn
	ended  func()
	failed chan struct{} // closed when fault is what it will be
	fault  error
}

// Read tells at its end why there is no more, where the other side said.
func (f *forwarded) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	return n, f.why(err)
}

// Write tells in the same way why nobody takes it.
func (f *forwarded) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	return n, f.why(err)
}

func (f *forwarded) why(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	<-f.failed // one of the ends is closed, so the tunnel is about to be
	if f.fault != nil {
		return f.fault
	}
	return err
}

// Close ends the tunnel as well.
func (f *forwarded) Close() error {
	err := f.Conn.Close()
	f.ended()
	<-f.failed
	return err
}
