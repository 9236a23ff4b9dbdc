// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// demo owns all that it makes: namespaces, servers, two processes, a folder
// and the agent's pins.
type demo struct {
	bin, dir, pins string
	node           *netns.Node
	pods           map[string]*netns.Pod
	echoes         []io.Closer
	agent, watcher *exec.Cmd
	lines          *lines
	failed, shown  int
}

// build makes the namespaces, the servers in them and the manifests.
func (d *demo) build() (err error) {
	if d.node, err = netns.NewNode("demo", netns.Options{}); err != nil {
		return err
	}
	d.pods = map[string]*netns.Pod{}
	for _, p := range pods {
		pod, err := d.node.AddPod(p.name, p.addrs...)
		if err != nil {
			return err
		}
		d.pods[p.name] = pod
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
	if err := os.Mkdir(filepath.Join(d.dir, "manifests"), 0o755); err != nil {
		return err
	}
	return errors.Join(
		d.replace("manifests/cluster.yaml", clusterManifest()),
		d.replace("manifests/policies.yaml", policiesManifest(8080)),
		d.replace("weir.yaml", configuration("audit")),
	)
}

// command of weir-agent on the demo's node.
func (d *demo) agentCommand(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(d.bin, "weir-agent"), append(args,
		"--node=demo",
		"--manifests="+filepath.Join(d.dir, "manifests"),
		"--state-dir="+filepath.Join(d.dir, "state"),
		"--pin-dir="+d.pins,
		"--socket="+filepath.Join(d.dir, "agent.sock"),
		"--log-level=warn",
	)...)
}

// startAgent starts the agent inside the node's namespace (a child is born in
// the namespace of the thread that forks) and waits until it is ready.
func (d *demo) startAgent(ctx context.Context) error {
	d.agent = d.agentCommand("--config=" + filepath.Join(d.dir, "weir.yaml"))
	d.agent.Stdout, d.agent.Stderr = os.Stdout, os.Stderr
	d.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us; we end it in order
	if err := d.node.Do(d.agent.Start); err != nil {
		return fmt.Errorf("start weir-agent: %w", err)
	}
	until := time.Now().Add(30 * time.Second)
	for {
		out, err := d.weir("status", "-o", "json").CombinedOutput()
		if err == nil && ready(out) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(until) {
			return fmt.Errorf("weir-agent is not ready after 30 s; weir status says: %v %s", err, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// weir is a command of the CLI against the demo's agent.
func (d *demo) weir(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(d.bin, "weir"), append([]string{"--socket=" + filepath.Join(d.dir, "agent.sock")}, args...)...)
}

// startObserve runs `weir observe -f`; its lines are what the demo shows.
func (d *demo) startObserve(ctx context.Context) error {
	d.watcher = d.weir("observe", "-f")
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
	var errs []error
	for _, p := range []*exec.Cmd{d.watcher, d.agent} {
		errs = append(errs, end(p))
	}
	for _, e := range d.echoes {
		errs = append(errs, e.Close())
	}
	if d.node != nil {
		if d.agent != nil {
			cleanup := d.agentCommand("cleanup")
			err := d.node.Do(func() error {
				out, err := cleanup.CombinedOutput()
				if err != nil {
					return fmt.Errorf("weir-agent cleanup: %w: %s", err, out)
				}
				return nil
			})
			errs = append(errs, err)
		}
		errs = append(errs, d.node.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

// end asks a process to end, and insists after 10 s.
func end(p *exec.Cmd) error {
	if p == nil || p.Process == nil {
		return nil
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
	defer timer.Stop()
	err := p.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if !timer.Stop() {
			return fmt.Errorf("%s did not end within 10 s and was killed", filepath.Base(p.Path))
		}
		return nil // it was told to end: its exit code says so
	}
	return err
}
