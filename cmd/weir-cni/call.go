// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weirnet/weir/api/client"
	weirv1 "github.com/weirnet/weir/api/v1"
)

const (
	// retryPause between two attempts: an agent that restarts is away for
	// about a second.
	retryPause = 50 * time.Millisecond
	// retractLimit: a pod's end does not wait for an agent.
	retractLimit = 2 * time.Second
)

// errNotYet: the agent has answered, and the pod's policy is not complete.
var errNotYet = errors.New("the pod's policy is not complete; has the agent heard of the pod from the API server? weir status tells")

// announce until the pod's policy is in force, or ctx ends.
func announce(ctx context.Context, socket string, req *weirv1.AnnounceRequest) error {
	var last error
	for {
		err := dial(ctx, socket, func(c *client.Client) error { return announceOnce(ctx, c, req) })
		if err == nil || !passing(err) {
			return err
		}
		// The last cause says more than the end of time.
		if last == nil || ctx.Err() == nil && !errors.Is(err, client.ErrBusy) {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("within the time limit: %w", last)
		case <-time.After(retryPause):
		}
	}
}

func announceOnce(ctx context.Context, c *client.Client, req *weirv1.AnnounceRequest) error {
	answer, err := c.Agent.Announce(ctx, req)
	if err != nil {
		return err
	}
	switch answer.GetState() {
	case "enforced", "audited":
		return nil
	case "notready":
		return errNotYet
	}
	return fmt.Errorf("the agent says that pod %s/%s is %s; weir endpoints tells why", req.GetNamespace(), req.GetName(), answer.GetState())
}

// passing: another attempt may end otherwise.
func passing(err error) bool {
	var call *client.CallError
	if errors.As(err, &call) {
		return call.Code == codes.Unavailable || call.Code == codes.DeadlineExceeded
	}
	return errors.Is(err, client.ErrNotRunning) || errors.Is(err, client.ErrBusy) || errors.Is(err, errNotYet) ||
		errors.Is(err, context.DeadlineExceeded)
}

// verify that the agent shows the pod at this interface.
func verify(ctx context.Context, socket string, p pod, veth string) error {
	return dial(ctx, socket, func(c *client.Client) error {
		answer, err := c.Agent.Endpoints(ctx, &weirv1.EndpointsRequest{})
		if err != nil {
			return err
		}
		for _, e := range answer.GetEndpoints() {
			if e.GetInterface() != veth {
				continue
			}
			shown, state := pod{Namespace: e.GetNamespace(), Name: e.GetPod(), UID: p.UID}, e.GetState()
			if shown != p || state != "enforced" && state != "audited" {
				return fmt.Errorf("interface %s is shown as pod %s/%s, %s %s", veth, shown.Namespace, shown.Name, state, e.GetWhy())
			}
			return nil
		}
		return fmt.Errorf("the agent does not know interface %s of pod %s/%s", veth, p.Namespace, p.Name)
	})
}

func retract(ctx context.Context, socket string, p pod) error {
	return dial(ctx, socket, func(c *client.Client) error {
		_, err := c.Agent.Retract(ctx, &weirv1.RetractRequest{Namespace: p.Namespace, Name: p.Name, Uid: p.UID})
		return err
	})
}

func reach(ctx context.Context, socket string) error {
	return dial(ctx, socket, func(c *client.Client) error {
		_, err := c.Agent.Endpoints(ctx, &weirv1.EndpointsRequest{})
		return err
	})
}

func dial(ctx context.Context, socket string, call func(*client.Client) error) error {
	o := client.Defaults()
	o.Socket = socket
	c, err := client.Dial(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(call(c), c.Close())
}
