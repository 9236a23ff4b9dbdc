// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Agents of weir: their DaemonSet.
type Agents struct {
	Namespace, Name string
	cluster         *Cluster
}

// On a node: the agent's pod, which is not about to go.
func (a *Agents) On(ctx context.Context, n Node) (*corev1.Pod, error) {
	set, err := a.cluster.client.AppsV1().DaemonSets(a.Namespace).Get(ctx, a.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := a.cluster.client.CoreV1().Pods(a.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector), FieldSelector: "spec.nodeName=" + n.Name,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			return &p, nil
		}
	}
	return nil, fmt.Errorf("no agent on node %s", n.Name)
}

// generation tells one run of an agent from the next.
func generation(p *corev1.Pod) string {
	if len(p.Status.ContainerStatuses) == 0 {
		return string(p.UID)
	}
	return fmt.Sprintf("%s %d", p.UID, p.Status.ContainerStatuses[0].RestartCount)
}

// AwaitNext until another run of the agent than before is ready.
func (a *Agents) AwaitNext(ctx context.Context, n Node, before *corev1.Pod, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) error {
		now, err := a.On(ctx, n)
		if err != nil {
			return err
		}
		if generation(now) == generation(before) || !ready(now) {
			return fmt.Errorf("agent %s on node %s: ready %t, %s", now.Name, n.Name, ready(now), waiting(now))
		}
		return nil
	})
}

// Kill the agent's pod on a node without grace, and await the next.
func (a *Agents) Kill(ctx context.Context, n Node, limit time.Duration) error {
	before, err := a.On(ctx, n)
	if err != nil {
		return err
	}
	none := int64(0)
	err = a.cluster.client.CoreV1().Pods(a.Namespace).Delete(ctx, before.Name, metav1.DeleteOptions{GracePeriodSeconds: &none})
	if err != nil {
		return err
	}
	return a.AwaitNext(ctx, n, before, limit)
}

// Image of the agent's container, and the container's name.
func (a *Agents) Image(ctx context.Context) (container, image string, err error) {
	set, err := a.cluster.client.AppsV1().DaemonSets(a.Namespace).Get(ctx, a.Name, metav1.GetOptions{})
	if err != nil {
		return "", "", err
	}
	first := set.Spec.Template.Spec.Containers[0]
	return first.Name, first.Image, nil
}

// Patch the DaemonSet, by a strategic merge, and await the end of its rolling
// update.
func (a *Agents) Patch(ctx context.Context, patch string, limit time.Duration) error {
	old := make([]*corev1.Pod, len(a.cluster.Nodes))
	for i, n := range a.cluster.Nodes {
		var err error
		if old[i], err = a.On(ctx, n); err != nil {
			return err
		}
	}
	_, err := a.cluster.client.AppsV1().DaemonSets(a.Namespace).Patch(ctx, a.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("patch DaemonSet %s: %w", a.Name, err)
	}
	for i, n := range a.cluster.Nodes {
		if err := a.AwaitNext(ctx, n, old[i], limit); err != nil {
			return err
		}
	}
	return a.cluster.AgentsReady(ctx, a.Namespace, a.Name, limit)
}

// Reread takes an error of the API server that was away for a while as
// something to wait for.
func (c *Cluster) Reread(ctx context.Context, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return errors.Join(errors.New("the API server does not answer"), err)
		}
		return nil
	})
}
