// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AwaitDaemonSet returns when the DaemonSet has a ready pod on every node that
// it wants one on. It needs get on it.
func (c Cluster) AwaitDaemonSet(ctx context.Context, namespace, name string) error {
	const pause = time.Second
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		found, err := c.Client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("ask for DaemonSet %s/%s: %w", namespace, name, err)
		}
		if complete(found) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("DaemonSet %s/%s: %d of %d pods are ready: %w", namespace, name, found.Status.NumberReady, found.Status.DesiredNumberScheduled, ctx.Err())
		case <-tick.C:
		}
	}
}

func complete(d *appsv1.DaemonSet) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedNumberScheduled >= s.DesiredNumberScheduled && s.NumberReady >= s.DesiredNumberScheduled
}
