// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/cluster/birth"
	"github.com/weirnet/weir/test/cluster/cgroup"
	"github.com/weirnet/weir/test/cluster/layout"
)

// Options of a node.
type Options struct {
	Node       layout.Node
	Kubernetes string   // the program with kubelet and kube-proxy
	Images     []string // archives to import before the kubelet starts
}

const runtimeLimit = 30 * time.Second // for containerd to answer

func cgroupOf(n layout.Node) string { return "/" + cgroup.Root + "/" + n.Name() }

// Run makes the node and keeps it until the context ends. It must be process 1
// of namespaces of its own. It ends with an error
// when one of the node's processes ends: a node without its kubelet should
// look as broken as it is.
func Run(ctx context.Context, o Options) error {
	if os.Getpid() != 1 {
		return errors.New("a node must be process 1 of a namespace of its own; use weir-cluster up")
	}
	if err := birth.AwaitLinks(layout.NodeLink); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(o.Node.Name())); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := prepare(o.Node); err != nil {
		return err
	}
	if err := birth.SetSysctls(); err != nil {
		return err
	}
	if err := configure(o.Node); err != nil {
		return err
	}
	s := newSupervisor()
	stop := make(chan struct{})
	defer close(stop)
	go s.reap(stop)
	return keep(ctx, s, o)
}

// keep starts the node's processes in order and waits for the first end.
func keep(ctx context.Context, s *supervisor, o Options) error {
	ended := make(chan error, 3)
	daemon := func(name, path string, args ...string) error {
		log, err := os.OpenFile(filepath.Join("/var/log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer log.Close()
		end, err := s.start(log, path, args...)
		if err != nil {
			return err
		}
		go func() {
			status := <-end
			ended <- fmt.Errorf("%s ended: %s; see %s", name, describe(status), filepath.Join(o.Node.Dir(), "log", name+".log"))
		}()
		return nil
	}
	// The kubelet asks for images only when a pod comes; kube-proxy needs
	// none. So both start while containerd does.
	if err := daemon("containerd", "containerd", "--config", runtimeFile, "--log-level", "warn"); err != nil {
		return err
	}
	if err := daemon("kube-proxy", o.Kubernetes, "kube-proxy", "--config", proxyFile); err != nil {
		return err
	}
	if err := awaitSocket(ctx, runtimeSocket, runtimeLimit); err != nil {
		return err
	}
	for _, image := range o.Images {
		if err := s.run(os.Stderr, "ctr", "-n", "k8s.io", "images", "import", image); err != nil {
			return fmt.Errorf("import image: %w", err)
		}
	}
	err := daemon("kubelet", o.Kubernetes, "kubelet", "--config", kubeletFile, "--kubeconfig", o.Node.Kubeconfig(),
		"--hostname-override", o.Node.Name(), "--node-ip", nodeAddresses(o.Node))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// awaitSocket until someone listens on it.
func awaitSocket(ctx context.Context, path string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("nobody listened on %s within %s", path, limit))
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}
