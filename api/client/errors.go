// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrNotRunning is wrapped by errors that say that no agent answers at the
// socket.
var ErrNotRunning = errors.New("weir-agent is not running")

// ErrBusy: something listens, or may, and did not take the connection before
// the time was over.
var ErrBusy = errors.New("weir-agent takes no connection in time")

// ErrNoToken is wrapped by Options.Token where the caller is given none.
var ErrNoToken = errors.New("no token")

// dialError says why a socket did not lead to an agent, and what to do.
func dialError(socket string, err error) error {
	const hint = "start it, or name another socket with --socket"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no socket at %s; %s", ErrNotRunning, socket, hint)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s cannot exist, a part of its path is not a directory; %s", ErrNotRunning, socket, hint)
	case errors.Is(err, syscall.ECONNREFUSED):
		// The kernel answers so for a socket without a listener and for a
		// file that is no socket.
		return fmt.Errorf("%w: nothing listens at %s, an agent that has ended may have left it; %s", ErrNotRunning, socket, hint)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("connect to weir-agent: permission denied for %s: the socket is its owner's alone; run this as root", socket)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("connect to weir-agent: %s cannot be a Unix socket: the path is empty or longer than 107 bytes; name another socket with --socket", socket)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w at %s; is it stuck? its log tells", ErrBusy, socket)
	}
	return fmt.Errorf("connect to weir-agent at %s: %w", socket, err)
}

// CallError is a failed call in plain words.
type CallError struct {
	Code  codes.Code
	Place string // of the agent: "at SOCKET" or "on NAME"
	text  string
}

// Error is the agent's own sentence where the agent answered.
func (e *CallError) Error() string {
	switch e.Code {
	case codes.Unavailable:
		return fmt.Sprintf("weir-agent %s went away (%s); see whether it runs, then try again", e.Place, e.text)
	case codes.DeadlineExceeded:
		return fmt.Sprintf("weir-agent %s did not answer in time; give it longer with --request-timeout, or see its log", e.Place)
	case codes.Unimplemented:
		return fmt.Sprintf("weir-agent %s does not know this call (%s); it may be older than this command: compare the versions", e.Place, e.text)
	}
	return e.text
}

// GRPCStatus lets status.FromError and status.Code see the code.
func (e *CallError) GRPCStatus() *status.Status { return status.New(e.Code, e.text) }

// Unwrap lets callers ask for the end of a context with errors.Is.
func (e *CallError) Unwrap() error {
	switch e.Code {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return nil
}

func (c *Client) callError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s := status.Convert(err)
	if s.Code() == codes.Unauthenticated && c.options.Refused != nil {
		c.options.Refused()
	}
	return &CallError{Code: s.Code(), Place: c.options.place(), text: s.Message()}
}

func (c *Client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return c.callError(invoke(ctx, method, req, reply, cc, opts...))
}

func (c *Client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, c.callError(err)
	}
	return &plainStream{ClientStream: s, client: c}, nil
}

// plainStream gives the errors of a stream as CallErrors.
type plainStream struct {
	grpc.ClientStream
	client *Client
}

func (s *plainStream) RecvMsg(m any) error { return s.client.callError(s.ClientStream.RecvMsg(m)) }
func (s *plainStream) SendMsg(m any) error { return s.client.callError(s.ClientStream.SendMsg(m)) }
