// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

type agentService struct {
	weirv1.UnimplementedAgentServer
	state     StateReader
	announcer Announcer
	store     *flows.Store
	runID     string
}

// Status implements weirv1.AgentServer.
func (s *agentService) Status(ctx context.Context, _ *weirv1.StatusRequest) (*weirv1.StatusResponse, error) {
	scope, err := scopeOf(ctx)
	if err != nil {
		return nil, err
	}
	state, err := s.state.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := statusProto(state)
	out.RunId = s.runID
	out.Subscribers = uint64(s.store.Subscribers())
	s.describeStore(out.Store)
	scope.status(out)
	return out, nil
}

func (s *agentService) describeStore(out *weirv1.FlowStore) {
	oldest, newest := s.store.Bounds()
	out.Flows, out.Capacity = newest+1-oldest, uint64(s.store.Capacity())
	if first, ok := s.store.Oldest(); ok {
		out.Oldest = timestamppb.New(first)
	}
}

// Endpoints implements weirv1.AgentServer; by pod and interface.
func (s *agentService) Endpoints(ctx context.Context, _ *weirv1.EndpointsRequest) (*weirv1.EndpointsResponse, error) {
	scope, err := scopeOf(ctx)
	if err != nil {
		return nil, err
	}
	endpoints, err := s.state.Endpoints(ctx)
	if err != nil {
		return nil, err
	}
	endpoints = kept(endpoints, func(e Endpoint) bool { return scope.sees(e.Pod.Namespace) })
	endpoints = slices.SortedFunc(slices.Values(endpoints), func(a, b Endpoint) int {
		return cmp.Or(a.Pod.Compare(b.Pod), cmp.Compare(a.Interface, b.Interface))
	})
	return &weirv1.EndpointsResponse{Endpoints: each(endpoints, endpointProto)}, nil
}

// Announce implements weirv1.AgentServer.
func (s *agentService) Announce(ctx context.Context, req *weirv1.AnnounceRequest) (*weirv1.AnnounceResponse, error) {
	if err := s.mayAnnounce(ctx); err != nil {
		return nil, err
	}
	a, err := announcement(req)
	if err != nil {
		return nil, invalid("announcement of %s/%s: %s", req.GetNamespace(), req.GetName(), err)
	}
	state, err := s.announcer.Announce(ctx, a)
	if err != nil {
		return nil, err
	}
	return &weirv1.AnnounceResponse{State: state}, nil
}

// Retract implements weirv1.AgentServer.
func (s *agentService) Retract(ctx context.Context, req *weirv1.RetractRequest) (*weirv1.RetractResponse, error) {
	if err := s.mayAnnounce(ctx); err != nil {
		return nil, err
	}
	pod := policy.ObjectKey{Namespace: req.GetNamespace(), Name: req.GetName()}
	if pod.Namespace == "" || pod.Name == "" {
		return nil, invalid("a pod is named by namespace and name, not %q and %q", pod.Namespace, pod.Name)
	}
	if err := s.announcer.Retract(ctx, pod, req.GetUid()); err != nil {
		return nil, err
	}
	return &weirv1.RetractResponse{}, nil
}

// mayAnnounce: an announcement binds addresses to an interface, so it is taken
// only where the mode of a socket has let its sender in.
func (s *agentService) mayAnnounce(ctx context.Context) error {
	if s.announcer == nil {
		return status.Error(codes.Unimplemented, "this weir-agent takes no announcements of pods")
	}
	if p, ok := peer.FromContext(ctx); !ok || p.Addr.Network() != "unix" || !callerOf(ctx).local {
		return status.Error(codes.PermissionDenied, "announcements are taken over the agent's Unix socket only")
	}
	return nil
}

func announcement(req *weirv1.AnnounceRequest) (Announcement, error) {
	a := Announcement{
		Pod:       policy.ObjectKey{Namespace: req.GetNamespace(), Name: req.GetName()},
		UID:       req.GetUid(),
		Interface: req.GetInterface(),
	}
	var errs []error
	if a.Pod.Namespace == "" || a.Pod.Name == "" {
		errs = append(errs, errors.New("namespace or name is absent"))
	}
	// The kernel's own rules for the name of a link (dev_valid_name).
	if n := len(a.Interface); n == 0 || n > 15 || strings.ContainsAny(a.Interface, "/: \t\n") || a.Interface == "." || a.Interface == ".." {
		errs = append(errs, fmt.Errorf("interface: %q is not the name of a link", a.Interface))
	}
	if len(req.GetIps()) == 0 {
		errs = append(errs, errors.New("ips: none; the pod could send nothing"))
	}
	for i, text := range req.GetIps() {
		addr, err := netip.ParseAddr(text)
		addr = addr.Unmap()
		if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
			errs = append(errs, fmt.Errorf("ips[%d]: %q is not an address that a pod can have", i, text))
			continue
		}
		a.IPs = append(a.IPs, addr)
	}
	return a, errors.Join(errs...)
}
