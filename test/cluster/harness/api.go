// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weirnet/weir/test/cluster/layout"
)

const pollInterval = 100 * time.Millisecond

// api is the API server, seen as its administrator.
type api struct{ client kubernetes.Interface }

func connectAPI(s layout.Settings) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig("admin"))
	if err != nil {
		return nil, err
	}
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &api{client}, nil
}

// poll until the condition holds. It may say what it still waits for, which
// the error names; a cluster with a dead process is not waited for.
func poll(ctx context.Context, s layout.Settings, condition func(context.Context) (waitingFor error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		waiting := condition(ctx)
		if waiting == nil {
			return nil
		}
		if err := dead(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), waiting)
		case <-ticker.C:
		}
	}
}

// awaitReady until the API server serves.
func (a *api) awaitReady(ctx context.Context, s layout.Settings) error {
	return poll(ctx, s, func(ctx context.Context) error {
		_, err := a.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// createNode before its kubelet does, with the ranges of its CNI.
func (a *api) createNode(ctx context.Context, n layout.Node) error {
	var ranges []string
	for _, p := range n.PodRanges() {
		ranges = append(ranges, p.String())
	}
	_, err := a.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name()},
		Spec:       corev1.NodeSpec{PodCIDR: ranges[0], PodCIDRs: ranges},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create node %s: %w", n.Name(), err)
	}
	return nil
}

// awaitNodes until all are ready and open to pods.
func (a *api) awaitNodes(ctx context.Context, s layout.Settings) error {
	return poll(ctx, s, func(ctx context.Context) error {
		nodes, err := a.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			if !ready(n) {
				return fmt.Errorf("node %s is not ready", n.Name)
			}
		}
		return nil
	})
}

// awaitBeat until a kubelet that started after a moment says that the node is
// ready: what stood there before is the word of the former one.
func (a *api) awaitBeat(ctx context.Context, s layout.Settings, n layout.Node, began time.Time) error {
	return poll(ctx, s, func(ctx context.Context) error {
		node, err := a.client.CoreV1().Nodes().Get(ctx, n.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		fresh := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.LastHeartbeatTime.After(began)
		})
		if !fresh || !ready(*node) {
			return fmt.Errorf("node %s is not ready again", n.Name())
		}
		return nil
	})
}

// ready nodes have no taint left that the node controller takes away later.
func ready(n corev1.Node) bool {
	return len(n.Spec.Taints) == 0 && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// awaitServiceAccount without which no pod can be made in the namespace.
func (a *api) awaitServiceAccount(ctx context.Context, s layout.Settings) error {
	return poll(ctx, s, func(ctx context.Context) error {
		_, err := a.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return errors.New("namespace default has no service account yet")
		}
		return err
	})
}
