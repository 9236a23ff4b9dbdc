// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent answers as it is told, on a socket of its own.
type agent struct {
	weirv1.UnimplementedAgentServer
	t      *testing.T
	socket string
	server *grpc.Server
	served sync.WaitGroup

	mu        sync.Mutex
	answers   []answer // of Announce; the last one is repeated
	announced []*weirv1.AnnounceRequest
	retracted []*weirv1.RetractRequest
	endpoints []*weirv1.Endpoint
}

type answer struct {
	state string
	err   error
}

func newAgent(t *testing.T) *agent {
	a := &agent{t: t, socket: filepath.Join(t.TempDir(), "agent.sock"), answers: []answer{{"enforced", nil}}}
	t.Cleanup(a.stop)
	return a
}

func (a *agent) start() {
	l, err := net.Listen("unix", a.socket)
	must(a.t, err)
	a.server = grpc.NewServer()
	weirv1.RegisterAgentServer(a.server, a)
	a.served.Go(func() { _ = a.server.Serve(l) })
}

func (a *agent) stop() {
	if a.server != nil {
		a.server.Stop()
	}
	a.served.Wait()
}

func (a *agent) Announce(_ context.Context, r *weirv1.AnnounceRequest) (*weirv1.AnnounceResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.announced = append(a.announced, r)
	next := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return &weirv1.AnnounceResponse{State: next.state}, next.err
}

func (a *agent) Retract(_ context.Context, r *weirv1.RetractRequest) (*weirv1.RetractResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retracted = append(a.retracted, r)
	return &weirv1.RetractResponse{}, nil
}

func (a *agent) Endpoints(context.Context, *weirv1.EndpointsRequest) (*weirv1.EndpointsResponse, error) {
	return &weirv1.EndpointsResponse{Endpoints: a.endpoints}, nil
}

// call is one call of the plugin for one pod.
type call struct {
	stdin  map[string]any
	args   string
	netns  string
	ifname string
}

const podIdentity = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1"

// newCall has the result of a plugin that lists the bridge and the host's end
// first, as bridge does.
func newCall(a *agent, netnsPath string) *call {
	return &call{
		args: podIdentity, netns: netnsPath, ifname: "eth0",
		stdin: map[string]any{
			"cniVersion": "1.0.0", "name": "pods", "type": "weir-cni",
			"socket": a.socket, "failure": "closed", "timeout": "300ms",
			"prevResult": map[string]any{
				"cniVersion": "1.0.0",
				"interfaces": []map[string]any{{"name": "cni0"}, {"name": "vethweb"}, {"name": "eth0", "sandbox": netnsPath}},
				"ips":        []map[string]any{{"interface": 2, "address": "10.77.0.5/24"}, {"interface": 2, "address": "fd77::5/64"}, {"interface": 0, "address": "10.77.0.1/24"}},
			},
		},
	}
}

func (c *call) cmdArgs(t *testing.T) *skel.CmdArgs {
	raw, err := json.Marshal(c.stdin)
	must(t, err)
	return &skel.CmdArgs{ContainerID: "c1", Netns: c.netns, IfName: c.ifname, Args: c.args, StdinData: raw}
}

// add calls the plugin and gives what it wrote to stdout.
func (c *call) add(t *testing.T) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	stdout := os.Stdout
	os.Stdout = w
	err = add(c.cmdArgs(t))
	os.Stdout = stdout
	must(t, w.Close())
	text, readErr := io.ReadAll(r)
	must(t, errors.Join(readErr, r.Close()))
	return string(text), err
}

// newPod is a namespace with a veth to this one, which it is called from.
func newPod(t *testing.T) (host *netns.Node, pod *netns.Pod) {
	t.Helper()
	node.RequireKernel(t)
	host, err := netns.NewNode("weircni", netns.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, host.Close()) })
	pod, err = host.AddPod("web", netip.MustParseAddr("10.244.1.5"))
	must(t, err)
	return host, pod
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code of a CNI error, and its text.
func failure(err error) (uint, string) {
	var e *types.Error
	if !errors.As(err, &e) {
		return 0, fmt.Sprint(err)
	}
	return e.Code, e.Msg + "; " + e.Details
}

func wants(t *testing.T, what string, err error, code uint, text string) {
	t.Helper()
	got, says := failure(err)
	if err == nil || got != code || !strings.Contains(says, text) {
		t.Errorf("%s: code %d, %s; want code %d with %q", what, got, says, code, text)
	}
}

func took(t *testing.T, what string, begun time.Time, most time.Duration) {
	t.Helper()
	if d := time.Since(begun); d > most {
		t.Errorf("%s took %s, want at most %s", what, d, most)
	}
}

func available(t *testing.T, c *call) error {
	t.Helper()
	return status(c.cmdArgs(t))
}
