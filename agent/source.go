// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/agent/watch"
)

// source is where policies come from, with what it offers beside.
type source struct {
	watch.Source
	name string // for `weir status`
	// connection is nil for a source that has none.
	connection func() watch.Connection
	events     *kube.Recorder // nil: no Kubernetes events are written
	cluster    kube.Cluster   // zero for a source that has none
}

// startJitter spreads the first lists of agents that start at once.
const startJitter = time.Second

// openSource takes the directory if one is named, else the API server. A
// directory must be there; a server need not answer yet.
func openSource(o Options, version string, log *slog.Logger) (*source, error) {
	if o.Manifests != "" {
		dir, err := watch.NewDirectory(watch.DirectoryOptions{Path: o.Manifests, StateDir: o.StateDir}, log)
		if err != nil {
			return nil, err
		}
		if err := dir.Check(); err != nil {
			return nil, err
		}
		return &source{Source: dir, name: "directory " + o.Manifests}, nil
	}
	cluster, err := kube.Connect(o.Kubeconfig, "weir-agent/"+version)
	if err != nil {
		return nil, err
	}
	api, err := watch.NewKubernetes(watch.KubernetesOptions{
		Client: cluster.Client, Server: cluster.Server, Node: o.Node, Jitter: startJitter,
	}, log)
	if err != nil {
		return nil, err
	}
	s := &source{Source: api, name: "Kubernetes API " + cluster.Server, connection: api.Connection, cluster: cluster}
	if o.PodEvents {
		s.events, err = kube.NewRecorder(kube.RecorderOptions{Client: cluster.Client, Node: o.Node, Log: log})
	}
	return s, err
}

// writeEvents until ctx ends.
func (s *source) writeEvents(ctx context.Context) error {
	if s.events == nil {
		return nil
	}
	return s.events.Run(ctx)
}

// followSource tells, once a second, what is wrong with the source: not only
// batches, which the controller sees, change that.
func followSource(ctx context.Context, s *source, ctl *controller) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if s.connection != nil {
			// Not a reason to be not ready: what is in force stays, and
			// taking the agent for broken would help nobody.
			ctl.state.set(conditionSource, false, connectionFault(s.connection()), 0)
		}
		if err := ctl.ask(ctx, ctl.lookAtSource); err != nil {
			return nil // ctx has ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func connectionFault(c watch.Connection) error {
	if c.Err == nil {
		return nil
	}
	return fmt.Errorf("%w; the last good state stays in force, and changes are not seen", c.Err)
}

// lookAtSource runs on the controller's goroutine.
func (c *controller) lookAtSource() {
	c.reportManifests()
	c.remark(time.Now())
	if err := c.problems.Health(); err != nil && !c.synced {
		c.state.set(conditionSynced, true, err, 0)
	}
}
