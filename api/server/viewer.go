// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Errors that a Gate wraps.
var (
	// ErrUnauthenticated: nobody vouches for the token.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrUnavailable: who asks could not be found out; later it may.
	ErrUnavailable = errors.New("not available")
)

// Gate finds out who calls over the network. An answer that it cannot have is
// an error: what is not known is not let in.
type Gate interface {
	// Viewer tells whose token it is. It wraps ErrUnauthenticated and
	// ErrUnavailable.
	Viewer(ctx context.Context, token string) (Viewer, error)
}

// Viewer is somebody who calls over the network.
type Viewer interface {
	// Name for messages and for counting.
	Name() string
	// Home is the namespace that the viewer belongs to; empty: none.
	Home() string
	// May tells whether the viewer may see the flows of a namespace; empty: of
	// all. It wraps ErrUnavailable.
	May(ctx context.Context, namespace string) (bool, error)
}

const (
	// reviewEvery is how often a stream that is open asks again who reads it.
	reviewEvery = time.Minute
	// callsOpen and callsOfOne bound the calls over the network at one time, in
	// all and of one viewer.
	callsOpen, callsOfOne = 64, 32
	// namespacesAsked is how many namespaces a filter may name where its viewer
	// may not see all: each one is a question to the API server.
	namespacesAsked = 16
)

// caller is who makes a call. The zero caller may nothing.
type caller struct {
	local bool // over the socket, whose mode has let it in
	gate  Gate
	token string
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// scope is what a caller may see. The zero scope is nothing.
type scope struct {
	all        bool
	who        string
	namespaces map[string]bool
}

func (s *scope) sees(namespace string) bool {
	return s.all || namespace != "" && s.namespaces[namespace]
}

func (s *scope) equal(o *scope) bool {
	return s.all == o.all && s.who == o.who && len(s.namespaces) == len(o.namespaces) &&
		!slices.ContainsFunc(s.list(), func(n string) bool { return !o.namespaces[n] })
}

func (s *scope) list() []string {
	var names []string
	for n := range s.namespaces {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// refuse what the scope does not hold.
func (s *scope) refuse(what string) error {
	return status.Errorf(codes.PermissionDenied, "%s: %s may see the flows of %s alone; ask with the viewer of that namespace, or of all",
		what, s.who, strings.Join(s.list(), ", "))
}

// scopeOf finds what the caller of ctx may see: everything, or which of his own
// namespace and of those that the request names.
func scopeOf(ctx context.Context, named ...string) (*scope, error) {
	c := callerOf(ctx)
	if c.local {
		return &scope{all: true}, nil
	}
	if c.gate == nil {
		return nil, status.Error(codes.PermissionDenied, "nobody has found out who calls")
	}
	viewer, err := c.gate.Viewer(ctx, c.token)
	if err != nil {
		return nil, gateError(err)
	}
	s := &scope{who: viewer.Name(), namespaces: map[string]bool{}}
	if s.all, err = viewer.May(ctx, ""); err != nil || s.all {
		return s, gateError(err)
	}
	ask := slices.Compact(slices.Sorted(slices.Values(slices.DeleteFunc(append(named, viewer.Home()), func(n string) bool { return n == "" }))))
	if len(ask) > namespacesAsked {
		return nil, invalid("the filters name %d namespaces; %s may not see all, and is asked about for each one: name at most %d", len(ask), s.who, namespacesAsked-1)
	}
	for _, namespace := range ask {
		may, err := viewer.May(ctx, namespace)
		if err != nil {
			return nil, gateError(err)
		}
		if may {
			s.namespaces[namespace] = true
		}
	}
	if len(s.namespaces) == 0 {
		return nil, status.Errorf(codes.PermissionDenied,
			"%s may not get flows.weir.dev in all namespaces, nor in any of: %s; a Role or ClusterRole that grants it must be bound there (the chart does so for viewers.namespaces)",
			s.who, strings.Join(ask, ", "))
	}
	return s, nil
}

func gateError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnauthenticated):
		return status.Error(codes.Unauthenticated, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return statusError(err)
	}
	return status.Error(codes.Unavailable, err.Error())
}

// bearer is the token that came with a call.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) == 1 {
		scheme, token, ok := strings.Cut(values[0], " ")
		if ok && strings.EqualFold(scheme, "bearer") && token != "" {
			return token, nil
		}
	}
	return "", status.Error(codes.Unauthenticated,
		"over the network a token is needed: authorization: Bearer TOKEN, of a ServiceAccount weir-viewer, for the audience weir.dev (kubectl create token weir-viewer -n NAMESPACE --audience weir.dev)")
}

// admission counts the calls that are open over the network.
type admission struct {
	mu   sync.Mutex
	open map[string]int
	all  int
}

// enter counts a call of somebody until the returned function is called.
func (a *admission) enter(who string) (leave func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= callsOpen || a.open[who] >= callsOfOne {
		return nil, status.Errorf(codes.ResourceExhausted, "%d calls over the network are open, %d of them of %s (at most %d and %d); end one, or try again",
			a.all, a.open[who], who, callsOpen, callsOfOne)
	}
	a.all++
	a.open[who]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all--
		if a.open[who]--; a.open[who] == 0 {
			delete(a.open, who)
		}
	}, nil
}

// admit finds out who calls, before the request is read.
func (s *Server) admit(ctx context.Context) (_ context.Context, leave func(), err error) {
	token, err := bearer(ctx)
	if err != nil {
		return nil, nil, err
	}
	viewer, err := s.options.Gate.Viewer(ctx, token)
	if err != nil {
		return nil, nil, gateError(err)
	}
	if leave, err = s.admission.enter(viewer.Name()); err != nil {
		return nil, nil, err
	}
	return withCaller(ctx, caller{gate: s.options.Gate, token: token}), leave, nil
}
