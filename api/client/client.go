// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weirnet/weir/api/v1"
)

// maxMessage is what one answer may weigh, in bytes: a page of flows is cut at
// 3 MiB by the server, but the list of all policies of a cluster is not.
const maxMessage = 64 << 20

// Options of a Client.
type Options struct {
	// Socket is the path of the agent's Unix socket.
	Socket string
	// Connect leads to an agent that Name speaks of, e.g. "node worker-1", in
	// place of Socket. Nil: Socket is used.
	Connect func(context.Context) (net.Conn, error)
	Name    string
	// Token gives the bearer token of each call; nil: none is sent. It wraps
	// ErrNoToken where there will be none the next time either. Refused is
	// called when the agent does not take one; nil: nobody wants to know.
	Token   func(context.Context) (string, error)
	Refused func()
	// ConnectTimeout bounds Dial.
	ConnectTimeout time.Duration
	// BackoffMin and BackoffMax are the first and the longest wait between
	// two attempts of WatchReconnect; the wait doubles in between.
	BackoffMin, BackoffMax time.Duration
}

// Defaults are the options of a client on the agent's own node.
func Defaults() Options {
	return Options{
		Socket:         "/run/weir/agent.sock",
		ConnectTimeout: 5 * time.Second,
		BackoffMin:     200 * time.Millisecond,
		BackoffMax:     5 * time.Second,
	}
}

// Validate names every option that cannot be used.
func (o Options) Validate() error {
	var errs []error
	if o.Connect != nil && o.Name == "" {
		errs = append(errs, errors.New("connect: the agent that it leads to has no name"))
	}
	if o.Connect == nil && o.Socket == "" {
		errs = append(errs, errors.New("socket: empty; name the agent's Unix socket, e.g. --socket=/run/weir/agent.sock"))
	}
	if o.ConnectTimeout <= 0 {
		errs = append(errs, fmt.Errorf("connect timeout: %s is not above 0", o.ConnectTimeout))
	}
	if o.BackoffMin <= 0 || o.BackoffMax < o.BackoffMin {
		errs = append(errs, fmt.Errorf("backoff: %s to %s is not a range above 0", o.BackoffMin, o.BackoffMax))
	}
	return errors.Join(errs...)
}

// Client speaks to one agent. Its methods and services may be used by several
// goroutines. Errors of the services are CallErrors.
type Client struct {
	Flows    weirv1.FlowsClient
	Policies weirv1.PoliciesClient
	Agent    weirv1.AgentClient

	options Options
	conn    *grpc.ClientConn
}

// Dial connects to the agent. An agent that does not listen at Socket is an
// error now (ErrNotRunning), not at the first call.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c := &Client{options: o}
	if err := c.probe(ctx); err != nil {
		return nil, err
	}
	dialer := func(ctx context.Context, _ string) (net.Conn, error) { return dialSocket(ctx, o.Socket) }
	if o.Connect != nil {
		dialer = func(ctx context.Context, _ string) (net.Conn, error) { return o.Connect(ctx) }
	}
	dial := []grpc.DialOption{
		// The socket's mode is the lock; whoever gives Connect answers for what
		// is in between.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: o.BackoffMin, Multiplier: 2, MaxDelay: o.BackoffMax},
			MinConnectTimeout: o.ConnectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(c.unary),
		grpc.WithStreamInterceptor(c.stream),
	}
	if o.Token != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(tokens{o.Token}))
	}
	conn, err := grpc.NewClient("passthrough:///weir-agent", dial...)
	if err != nil {
		return nil, fmt.Errorf("connect to weir-agent %s: %w", o.place(), err)
	}
	c.conn = conn
	c.Flows = weirv1.NewFlowsClient(conn)
	c.Policies = weirv1.NewPoliciesClient(conn)
	c.Agent = weirv1.NewAgentClient(conn)
	return c, nil
}

// place is where the agent is, for messages.
func (o Options) place() string {
	if o.Connect != nil {
		return "on " + o.Name
	}
	return "at " + o.Socket
}

// tokens puts a bearer token beside each call.
type tokens struct {
	get func(context.Context) (string, error)
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := t.get(ctx)
	if err != nil {
		code := codes.Unavailable
		if errors.Is(err, ErrNoToken) {
			code = codes.Unauthenticated
		}
		return nil, status.Error(code, err.Error())
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: gRPC sees
// none, since it is the way of Connect that is encrypted.
func (t tokens) RequireTransportSecurity() bool { return false }

// Close ends the connection and all calls on it.
func (c *Client) Close() error { return c.conn.Close() }

// Conn is the connection below, for services that Client has no field for
// (health, reflection).
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// probe connects once and hangs up. gRPC itself connects at the first call
// and would wrap the cause in three layers of its own.
func (c *Client) probe(ctx context.Context) error {
	if c.options.Connect != nil {
		return nil // costly, and its errors are told by the first call
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.ConnectTimeout)
	defer cancel()
	conn, err := dialSocket(ctx, c.options.Socket)
	if err != nil {
		return dialError(c.options.Socket, err)
	}
	return conn.Close()
}

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}
