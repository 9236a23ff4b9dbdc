// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// statusError gives an error of the agent its code. The text is kept whole: it
// is what the person at the other end reads.
func statusError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Internal
	switch {
	case errors.Is(err, ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, ErrInvalid):
		code = codes.InvalidArgument
	case errors.Is(err, ErrConflict):
		code = codes.AlreadyExists
	case errors.Is(err, ErrNotReady):
		code = codes.FailedPrecondition
	case errors.Is(err, ErrUnauthenticated):
		code = codes.Unauthenticated
	case errors.Is(err, ErrUnavailable):
		code = codes.Unavailable
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// invalid makes an error of the request's own.
func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return s.answer(withCaller(ctx, caller{local: true}), req, info, handle)
}

// viewerUnary is unary for who calls over the network.
func (s *Server) viewerUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	defer s.recovered(info.FullMethod, &err)
	ctx, leave, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.answer(ctx, req, info, handle)
}

func (s *Server) answer(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := understood(info.FullMethod, req); err != nil {
		return nil, err
	}
	reply, err := handle(ctx, req)
	return reply, statusError(err)
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return s.serve(withCaller(stream.Context(), caller{local: true}), srv, stream, info, handle)
}

// viewerStream is stream for who calls over the network.
func (s *Server) viewerStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	ctx, leave, err := s.admit(stream.Context())
	if err != nil {
		return err
	}
	defer leave()
	return s.serve(ctx, srv, stream, info, handle)
}

func (s *Server) serve(ctx context.Context, srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return statusError(handle(srv, &strictStream{ServerStream: stream, method: info.FullMethod, ctx: ctx}))
}

// recovered keeps the agent alive when a call panics: who enforces policy must
// not end because somebody asked.
func (s *Server) recovered(method string, err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	s.options.Log.Error("a call of the API panicked", "method", method, "cause", cause, "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, method+" failed by a bug of weir-agent; its log has the details")
}
