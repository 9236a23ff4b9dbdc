// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// demo owns all that it makes: namespaces, servers, two processes, a folder
// and the agent's pins.
type demo struct {
	bin, dir      string
	node          *netns.Node
	pods          map[string]*netns.Pod
	echoes        []io.Closer
	agent         *node.Agent
	watcher       *exec.Cmd
	lines         *lines
	failed, shown int
}

// build makes the namespaces, the servers in them and the manifests.
func (d *demo) build() (err error) {
	if d.node, err = netns.NewNode("demo", netns.Options{}); err != nil {
		return err
	}
	d.pods = map[string]*netns.Pod{}
	for _, p := range pods {
		pod, err := d.node.AddPod(p.Name, p.Addrs...)
		if err != nil {
			return err
		}
		d.pods[p.Name] = pod
	}
	for _, s := range []struct {
		ns   *netns.Namespace
		port uint16
	}{
		{d.pods["my-app"].Namespace, 8080}, {d.pods["my-app"].Namespace, 9090},
		{d.pods["database"].Namespace, 5432}, {d.pods["frontend"].Namespace, 7000},
		{d.node.Outside, 53}, {d.node.Outside, 443},
	} {
		echo, err := s.ns.ServeEcho(s.port)
		if err != nil {
			return err
		}
		d.echoes = append(d.echoes, echo)
	}
	if d.agent, err = node.NewAgent(d.bin, d.dir, "demo", d.node); err != nil {
		return err
	}
	return errors.Join(
		d.agent.Replace("manifests/cluster.yaml", node.Manifest("demo", []string{"shop", "other"}, pods)),
		d.agent.Replace("manifests/policies.yaml", policiesManifest(8080)),
		d.agent.Replace("weir.yaml", configuration("audit")),
	)
}

// startAgent starts the agent on the node and waits until it is ready.
func (d *demo) startAgent(ctx context.Context) error {
	if err := d.agent.Start(); err != nil {
		return err
	}
	return d.agent.WaitReady(ctx, 60*time.Second)
}

// startObserve runs `weir observe -f`; its lines are what the demo shows.
func (d *demo) startObserve(ctx context.Context) error {
	d.watcher = d.agent.Weir("observe", "-f")
	d.watcher.Stderr = os.Stderr
	d.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := d.watcher.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.watcher.Start(); err != nil {
		return fmt.Errorf("start weir observe: %w", err)
	}
	d.lines = collect(pipe)
	// The stream is open when something of it arrives: send until it does.
	for range 50 {
		_ = d.node.Try("tcp", d.addr("frontend", 7000, 4), time.Second)
		if _, ok := d.lines.await(ctx, 0, 200*time.Millisecond, "shop/frontend:7000"); ok {
			return nil
		}
	}
	return errors.New("weir observe shows nothing of traffic that was sent")
}

// close ends what was started, in the reverse order, and removes what was made.
func (d *demo) close() error {
	errs := []error{node.End(d.watcher)}
	if d.agent != nil {
		errs = append(errs, d.agent.Close())
	}
	for _, e := range d.echoes {
		errs = append(errs, e.Close())
	}
	if d.node != nil {
		errs = append(errs, d.node.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}
