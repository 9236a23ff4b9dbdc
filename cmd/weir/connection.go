// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/weirnet/weir/api/client"
)

// dial connects to the one agent that a command asks. Its errors, and those of
// the calls that follow, say what to do.
func (s *session) dial(ctx context.Context) (*client.Client, error) {
	all, err := s.who(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(all.list) > 1 {
		return nil, fmt.Errorf("this command asks one agent, and the cluster has %d; name one with --node, e.g. --node %s", len(all.list), all.list[0].node)
	}
	return client.Dial(ctx, all.list[0].options)
}

// call runs one request of one agent within the timeout. A hint says what to do
// if the agent does not find what was asked for.
func (s *session) call(ctx context.Context, hint string, request func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.requestTimeout)
	defer cancel()
	agent, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	return advise(request(ctx, agent), hint)
}

// advise adds what to do to the agent's own sentence; package client has done
// so where no agent answered.
func advise(err error, hint string) error {
	var told *client.CallError
	if !errors.As(err, &told) {
		return err
	}
	switch told.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unimplemented, codes.Canceled:
		return err
	case codes.NotFound:
		if hint == "" {
			return err
		}
		return fmt.Errorf("%w; %s", err, hint)
	case codes.InvalidArgument:
		return fmt.Errorf("weir-agent does not take the request: %w; --help tells what each flag takes", err)
	case codes.PermissionDenied, codes.Unauthenticated:
		if strings.HasPrefix(told.Place, "on ") {
			return fmt.Errorf("weir-agent %s refuses access: %w", told.Place, err)
		}
		return fmt.Errorf("weir-agent refuses access: %w; run this as root", err)
	case codes.FailedPrecondition:
		return fmt.Errorf("weir-agent cannot answer yet: %w; the command status tells why", err)
	case codes.ResourceExhausted:
		return fmt.Errorf("the answer is too large: %w; narrow it, e.g. with -n", err)
	}
	return fmt.Errorf("weir-agent failed: %w; its log tells more", err)
}
