// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Bounds of what somebody who is not known yet may use up.
const (
	connections   = 128
	streamsOfOne  = 32        // of one connection
	requestBytes  = 256 << 10 // the longest filters have a few kB
	headerBytes   = 32 << 10
	idleAfter     = 5 * time.Minute
	keepAlive     = 30 * time.Second
	keepAliveWait = 20 * time.Second
)

// ListenLoopback listens on an address of the node's own loopback. What comes
// there is not encrypted, so no other address is taken: callers come through
// the API server's port forwarding, which is.
func ListenLoopback(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen for viewers at %q: %w; give address and port, e.g. 127.0.0.1:9966", address, err)
	}
	if !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("listen for viewers at %s: not a loopback address; tokens would go over the network in the clear, use 127.0.0.1:%d", at, at.Port())
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen for viewers: %w", err)
	}
	return l, nil
}

// RunViewers serves those whom the Gate lets in, each what he may see, on the
// listener, and closes it. Announcements, health and reflection are not served
// there. It ends as Run does, and may be called once, beside it.
func (s *Server) RunViewers(ctx context.Context, l net.Listener) error {
	if s.options.Gate == nil {
		return errors.Join(errors.New("serve viewers: nobody is there to find out who calls"), l.Close())
	}
	stopping := make(chan struct{})
	g := grpc.NewServer(
		grpc.UnaryInterceptor(s.viewerUnary),
		grpc.StreamInterceptor(s.viewerStream),
		grpc.ConnectionTimeout(s.options.StopTimeout),
		grpc.MaxConcurrentStreams(streamsOfOne),
		grpc.MaxRecvMsgSize(requestBytes),
		grpc.MaxHeaderListSize(headerBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleAfter, Time: keepAlive, Timeout: keepAliveWait}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepAlive / 3, PermitWithoutStream: true}),
	)
	s.services(g, stopping)
	return s.run(ctx, netutil.LimitListener(l, connections), g, stopping)
}
