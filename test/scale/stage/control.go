// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weirnet/weir/test/netns"
)

const (
	// startLimit holds with a cold build cache: then Kubernetes is built.
	startLimit = 25 * time.Minute
	dialLimit  = 5 * time.Second
)

// startAPI starts etcd and the API server beside the node, and connects.
func (s *Stage) startAPI(ctx context.Context) error {
	state := s.dir("api")
	var err error
	s.api, err = s.start(s.Node.Outside, "api-server", filepath.Join(s.options.Bin, "weir-cluster"),
		"api-server", "--state="+state, "--source="+s.options.Cluster)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the API server did not answer within %s", startLimit))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.connect(filepath.Join(state, "pki", "admin.kubeconfig"))
		if err == nil {
			_, err = s.Admin.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		}
		if err == nil {
			return nil
		}
		if gone := syscall.Kill(s.api.Process.Pid, 0); gone != nil || zombie(s.api.Process.Pid) {
			return fmt.Errorf("the API server has ended; see %s", s.options.Logs)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (s *Stage) connect(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	s.config = config
	s.Admin, err = kubernetes.NewForConfig(s.Config(s.Node.Outside, nil))
	return err
}

// Config of a client of its own connection, from a namespace; wrap sees the
// connection, if it is not nil.
func (s *Stage) Config(from *netns.Namespace, wrap func(net.Conn) net.Conn) *rest.Config {
	config := rest.CopyConfig(s.config)
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := from.Dial(network, to, dialLimit)
		if err == nil && wrap != nil {
			conn = wrap(conn)
		}
		return conn, err
	}
	return config
}

// start a process in a namespace, with a log of its own. ^C is for us; it is
// ended in order.
func (s *Stage) start(in *netns.Namespace, title, program string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(s.options.Logs, title+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := in.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", title, err)
	}
	return cmd, nil
}

// StartKwok for the annotated nodes. These send no signs of life.
func (s *Stage) StartKwok() error {
	const settings = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageAllNodes: false
  manageNodesWithAnnotationSelector: kwok.x-k8s.io/node=fake
  nodeLeaseDurationSeconds: 0
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 8
`
	file := s.dir("kwok.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		return err
	}
	args := []string{"--kubeconfig=" + s.dir("api/pki/admin.kubeconfig"), "--config=" + file, "--server-address=127.0.0.1:10247"}
	for _, stage := range []string{"node/fast/node-initialize.yaml", "pod/fast/pod-ready.yaml", "pod/fast/pod-delete.yaml"} {
		args = append(args, "--config="+filepath.Join(s.options.Stages, stage))
	}
	var err error
	s.kwok, err = s.start(s.Node.Outside, "kwok", filepath.Join(s.options.Bin, "kwok"), args...)
	return err
}

// API is the process of etcd and the API server, and Kwok that of kwok.
func (s *Stage) API() Process  { return Process(s.api.Process.Pid) }
func (s *Stage) Kwok() Process { return Process(s.kwok.Process.Pid) }
