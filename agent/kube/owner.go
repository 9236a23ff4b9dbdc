// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Removed asks whether weir is being removed from the cluster: its DaemonSet
// is absent or being deleted, or the ServiceAccount of this agent is gone (the
// server then knows its token no more). Any other answer, and none, is an
// error: an agent that is merely restarted must not be taken for one that is
// removed. It needs get on that DaemonSet.
//
// Refused (403), it asks again until the context ends: when everything is
// deleted at once, the role is often gone before the server forgets the token,
// which it remembers for ten seconds, and only then it says 401.
func (c Cluster) Removed(ctx context.Context, namespace, name string) (bool, error) {
	for {
		removed, err := c.removed(ctx, namespace, name)
		if !apierrors.IsForbidden(err) {
			return removed, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(askAgain):
		}
	}
}

const askAgain = time.Second

func (c Cluster) removed(ctx context.Context, namespace, name string) (bool, error) {
	found, err := c.Client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return found.DeletionTimestamp != nil, nil
	case fromServer(err) && (apierrors.IsNotFound(err) || apierrors.IsUnauthorized(err)):
		return true, nil
	}
	return false, fmt.Errorf("ask for DaemonSet %s/%s: %w", namespace, name, err)
}

// fromServer: the answer is one of the API server. A proxy on the way to it
// says 404 and 401 as well, in words of its own.
func fromServer(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
