// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weirnet/weir/api/client"
	pb "github.com/weirnet/weir/api/v1"
)

type manyFlows struct {
	pb.UnimplementedFlowsServer
}

const manyBatches = 400

func (manyFlows) Watch(_ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.WatchResponse]) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	if !slices.Equal(md.Get("authorization"), []string{"Bearer token-weir-system-1"}) {
		return status.Error(codes.Unauthenticated, "whose token?")
	}
	for range manyBatches {
		r := &pb.WatchResponse{RunId: "r"}
		for range 50 {
			r.Flows = append(r.Flows, &pb.Flow{Interface: strings.Repeat("x", 200)})
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// A stream of gRPC goes through a forwarded port, whole, with the viewer's token
// and not the user's; connections do not outlive the client.
func TestForwardCarriesGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterFlowsServer(server, manyFlows{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Stop(); <-served }()

	c := apiServer(t, l.Addr().String())
	known := fake.NewClientset(pod("w-a", "a", corev1.PodRunning, "9966"))
	tokens(known, "weir-system")
	c.client = known
	agents, missing, err := c.Agents(t.Context(), []string{"a"}, nil)
	if err != nil || len(agents) != 1 || len(missing) != 0 {
		t.Fatalf("%v, %v, %v", agents, missing, err)
	}
	o := client.Defaults()
	o.Name, o.Connect, o.Token, o.Refused = "node a", agents[0].Connect, agents[0].Token, agents[0].Refused
	api, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	stream, err := api.Flows.Watch(t.Context(), &pb.WatchRequest{})
	flows := 0
	for err == nil {
		var r *pb.WatchResponse
		r, err = stream.Recv()
		flows += len(r.GetFlows())
	}
	if !errors.Is(err, io.EOF) || flows != 50*manyBatches {
		t.Errorf("%d flows came: %v", flows, err)
	}
}

// What the kubelet says reaches the user.
func TestClosedPortIsTold(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	c := apiServer(t, closed.Addr().String())
	agents, _, err := func() ([]Agent, []Missing, error) {
		known := fake.NewClientset(pod("w-a", "a", corev1.PodRunning, "9966"))
		tokens(known, "weir-system")
		c.client = known
		return c.Agents(t.Context(), nil, nil)
	}()
	if err != nil {
		t.Fatal(err)
	}
	o := client.Defaults()
	o.Name, o.Connect, o.Token = "node a", agents[0].Connect, agents[0].Token
	api, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	_, err = api.Agent.Status(t.Context(), &pb.StatusRequest{})
	if err == nil || !strings.Contains(err.Error(), "nothing listens there") || !strings.Contains(err.Error(), "on node a") {
		t.Errorf("%v", err)
	}
}
