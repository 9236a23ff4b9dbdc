// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/api/client"
	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

const (
	// A record of an end comes with a walk over the table (5 s), two seconds
	// after the last packet; on a busy machine later.
	patience = 40 * time.Second
	answer   = 5 * time.Second
)

const allowWeb = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: allow-web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: frontend}}}]
    ports: [{port: 8080}, {port: 8080, protocol: UDP}]
`

// stage is a node with an agent, a server, one who may call it and one who may
// not.
type stage struct {
	t                       *testing.T
	node                    *netns.Node
	agent                   *node.Agent
	view                    *node.View
	client                  *client.Client
	pods                    []node.Pod
	web, frontend, stranger *netns.Pod
}

func newStage(t *testing.T, args ...string) *stage {
	t.Helper()
	s := &stage{t: t}
	bin := node.Build(t, "../../cmd/weir", "../../cmd/weir-agent")
	var err error
	s.node, err = netns.NewNode("obs", netns.Options{})
	s.must(err)
	s.cleanup(s.node.Close)
	s.pods = []node.Pod{
		{Namespace: "shop", Name: "web", Labels: "app: web", Addrs: node.Dual(10)},
		{Namespace: "shop", Name: "frontend", Labels: "app: frontend", Addrs: node.Dual(11)},
		{Namespace: "shop", Name: "stranger", Labels: "app: stranger", Addrs: node.Dual(12)},
	}
	for i, to := range []**netns.Pod{&s.web, &s.frontend, &s.stranger} {
		*to, err = s.node.AddPod(s.pods[i].Name, s.pods[i].Addrs...)
		s.must(err)
	}
	echo, err := s.web.ServeEcho(8080)
	s.must(err)
	s.cleanup(echo.Close)
	s.agent, err = node.NewAgent(bin, filepath.Join(t.TempDir(), "weir-observe-"+t.Name()), "node-a", s.node)
	s.must(err)
	s.agent.Args = args
	s.cleanup(s.agent.Close)
	s.must(s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, s.pods)))
	s.must(s.agent.Replace("manifests/policy.yaml", allowWeb))
	s.must(s.agent.Start())
	s.must(s.agent.WaitReady(t.Context(), time.Minute))
	options := client.Defaults()
	options.Socket = s.agent.Socket()
	s.client, err = client.Dial(t.Context(), options)
	s.must(err)
	s.cleanup(s.client.Close)
	s.view, err = node.NewView(t.Context(), s.agent)
	s.must(err)
	s.cleanup(s.view.Close)
	s.until("the view watches", func(ctx context.Context) error {
		status, err := s.client.Agent.Status(ctx, &weirv1.StatusRequest{})
		if err == nil && status.GetSubscribers() == 0 {
			err = errors.New("no subscriber")
		}
		return err
	})
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) cleanup(f func() error) {
	s.t.Cleanup(func() {
		if err := f(); err != nil {
			s.t.Error(err)
		}
	})
}

// until waits for a condition.
func (s *stage) until(what string, done func(context.Context) error) {
	s.t.Helper()
	if err := s.within(patience, done); err != nil {
		s.t.Fatalf("%s: not within %s: %v", what, patience, err)
	}
}

// within waits for a condition, and returns what was wrong last.
func (s *stage) within(limit time.Duration, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

var errNotYet = errors.New("not told")

// told waits for a flow of all that was told since the stage was made.
func (s *stage) told(what string, wanted func(*weirv1.Flow) bool) *weirv1.Flow {
	s.t.Helper()
	var found *weirv1.Flow
	s.t.Cleanup(func() {
		if found == nil {
			s.view.Find(0, func(f *weirv1.Flow) bool { s.t.Log(f); return false })
		}
	})
	s.until(what, func(context.Context) error {
		if found = s.view.Find(0, wanted); found == nil {
			return errNotYet
		}
		return nil
	})
	return found
}
