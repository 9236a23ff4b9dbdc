// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
)

// Options of a Server. Flows, Policies, Explainer, State and Log are needed.
type Options struct {
	// Node is the name of this node, told with each flow.
	Node string
	// RunID tells one run of the agent from another; sequences of flows
	// compare within a run alone.
	RunID string
	Flows *flows.Store
	// KernelLost counts the events since the programs were loaded that found
	// their ring full, and those that were over their pod's share; nil: none
	// ever.
	KernelLost func() (lost, limited uint64)
	Policies   PolicyReader
	Explainer  Explainer
	State      StateReader
	// Announcer nil: this agent takes no announcements, and says so.
	Announcer Announcer
	// Gate nil: nobody is served over the network.
	Gate Gate
	// ReviewEvery is how often it is asked again about who reads a stream.
	ReviewEvery time.Duration
	// StopTimeout is how long calls may go on once Run is to end.
	StopTimeout time.Duration
	Log         *slog.Logger
}

// Defaults are the options that have a sensible value by themselves.
func Defaults() Options {
	return Options{
		RunID:       newRunID(),
		KernelLost:  func() (lost, limited uint64) { return 0, 0 },
		ReviewEvery: reviewEvery,
		StopTimeout: 3 * time.Second,
		Log:         slog.Default(),
	}
}

// Validate names everything that is absent or out of range.
func (o Options) Validate() error {
	var errs []error
	absent := func(name string, is bool) {
		if is {
			errs = append(errs, fmt.Errorf("API server: %s is absent", name))
		}
	}
	absent("RunID", o.RunID == "")
	absent("Flows", o.Flows == nil)
	absent("Policies", o.Policies == nil)
	absent("Explainer", o.Explainer == nil)
	absent("State", o.State == nil)
	absent("Log", o.Log == nil)
	if o.StopTimeout <= 0 || o.ReviewEvery <= 0 {
		errs = append(errs, fmt.Errorf("API server: a stop timeout of %s and reviews every %s are not both above 0", o.StopTimeout, o.ReviewEvery))
	}
	return errors.Join(errs...)
}

// Server answers the API.
type Server struct {
	options   Options
	health    *health.Server
	admission admission
}

// New checks the options and starts nothing.
func New(o Options) (*Server, error) {
	if o.KernelLost == nil {
		o.KernelLost = func() (lost, limited uint64) { return 0, 0 }
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{options: o, health: health.NewServer(), admission: admission{open: map[string]int{}}}
	s.SetReady(false)
	return s, nil
}

// SetReady sets what the health service answers for the agent as a whole (the
// empty service name). The services themselves are serving while Run runs.
func (s *Server) SetReady(ready bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
}

// Run serves on the socket that Listen made, whose mode is the lock, and closes
// it. Once ctx has ended, watches are ended, other calls may finish within
// StopTimeout, and Run returns nil. It may be called once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	stopping := make(chan struct{})
	g := s.register(stopping)
	stopped := context.AfterFunc(ctx, s.health.Shutdown)
	defer stopped()
	return s.run(ctx, l, g, stopping)
}

// run serves until ctx ends.
func (s *Server) run(ctx context.Context, l net.Listener, g *grpc.Server, stopping chan struct{}) error {
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		g.Stop()
		return fmt.Errorf("serve the API at %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	close(stopping)
	hurry := time.AfterFunc(s.options.StopTimeout, g.Stop)
	defer hurry.Stop()
	g.GracefulStop()
	if err := <-served; err != nil {
		return fmt.Errorf("serve the API at %s: %w", l.Addr(), err)
	}
	return nil
}

// register makes the gRPC server with all services on it.
func (s *Server) register(stopping <-chan struct{}) *grpc.Server {
	g := grpc.NewServer(
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		// A client that connects and says nothing holds up even Stop for this
		// long.
		grpc.ConnectionTimeout(s.options.StopTimeout),
	)
	s.services(g, stopping)
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	for name := range g.GetServiceInfo() {
		s.health.SetServingStatus(name, healthv1.HealthCheckResponse_SERVING)
	}
	return g
}

// services are those of weir itself.
func (s *Server) services(g *grpc.Server, stopping <-chan struct{}) {
	weirv1.RegisterFlowsServer(g, &flowService{
		store:      s.options.Flows,
		kernelLost: s.options.KernelLost,
		node:       s.options.Node,
		runID:      s.options.RunID,
		stopping:   stopping,
		review:     s.options.ReviewEvery,
	})
	weirv1.RegisterPoliciesServer(g, &policyService{policies: s.options.Policies, explainer: s.options.Explainer})
	weirv1.RegisterAgentServer(g, &agentService{
		state:     s.options.State,
		announcer: s.options.Announcer,
		store:     s.options.Flows,
		runID:     s.options.RunID,
	})
}
