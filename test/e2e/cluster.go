// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster that is tested.
type Cluster struct {
	client kubernetes.Interface
	config *rest.Config
	// Nodes that take pods, at least two, by name.
	Nodes []Node
}

// Node of the cluster.
type Node struct {
	Name      string
	Addresses []netip.Addr // internal
}

// Connect to the cluster of a kubeconfig.
func Connect(ctx context.Context, kubeconfig string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	config.QPS, config.Burst = -1, -1 // the tests are the only client, and wait for what they ask
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &Cluster{client: client, config: config}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	for _, n := range nodes.Items {
		if !takesPods(n) {
			continue
		}
		c.Nodes = append(c.Nodes, Node{Name: n.Name, Addresses: internal(n)})
	}
	if len(c.Nodes) < 2 {
		return nil, fmt.Errorf("%d nodes of the cluster take pods; the tests need 2", len(c.Nodes))
	}
	return c, nil
}

func takesPods(n corev1.Node) bool {
	return !n.Spec.Unschedulable && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	})
}

func internal(n corev1.Node) []netip.Addr {
	var list []netip.Addr
	for _, a := range n.Status.Addresses {
		address, err := netip.ParseAddr(a.Address)
		if a.Type == corev1.NodeInternalIP && err == nil {
			list = append(list, address)
		}
	}
	return list
}

// poll until the condition has nothing left to wait for. At the deadline the
// error names what it still waited for.
func poll(ctx context.Context, limit time.Duration, condition func(context.Context) (waitingFor error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var waiting error
	for {
		now := condition(ctx)
		if now == nil {
			return nil
		}
		if waiting == nil || ctx.Err() == nil { // else it tells of its interruption
			waiting = now
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), waiting)
		case <-ticker.C:
		}
	}
}

// HasAgents says whether the cluster has the agents' DaemonSet.
func (c *Cluster) HasAgents(ctx context.Context, namespace, name string) (bool, error) {
	_, err := c.client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// AgentsReady waits until an agent is ready on every node of the cluster.
func (c *Cluster) AgentsReady(ctx context.Context, namespace, name string, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) error {
		set, err := c.client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := set.Status
		if s.ObservedGeneration < set.Generation || s.UpdatedNumberScheduled < s.DesiredNumberScheduled ||
			s.NumberReady < s.DesiredNumberScheduled || int(s.DesiredNumberScheduled) < len(c.Nodes) {
			return fmt.Errorf("agents ready: %d of %d, on %d nodes", s.NumberReady, s.DesiredNumberScheduled, len(c.Nodes))
		}
		return nil
	})
}
