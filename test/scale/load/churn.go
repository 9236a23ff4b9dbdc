// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Churn creates pods and deletes the oldest ones, at an even pace. It is used
// by one goroutine.
type Churn struct {
	client kubernetes.Interface
	plan   Plan
	oldest int // the number of the next one to be deleted
	next   int // the number of the next one to be created
}

// Churned is what a churn did.
type Churned struct {
	Created int     `json:"created"`
	Deleted int     `json:"deleted"`
	Seconds float64 `json:"seconds"`
	Errors  int     `json:"errors"` // requests that failed
}

// NewChurn goes on from the pods that Cluster made.
func NewChurn(client kubernetes.Interface, p Plan) *Churn {
	return &Churn{client: client, plan: p, next: p.Churned()}
}

// Run for a time, and wait until the last request is answered. A request that
// takes long does not hold up the pace.
func (c *Churn) Run(ctx context.Context, length time.Duration) Churned {
	var done Churned
	var mu sync.Mutex
	var open sync.WaitGroup
	count := func(err error, n *int) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			done.Errors++
			return
		}
		*n++
	}
	begun := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(c.plan.Rate))
	defer tick.Stop()
	for ctx.Err() == nil && time.Since(begun) < length {
		add, drop := churnPod(c.next, c.plan), churnPod(c.oldest, c.plan)
		c.next++
		c.oldest++
		open.Go(func() {
			_, err := c.client.CoreV1().Pods(add.Namespace).Create(ctx, add, metav1.CreateOptions{})
			count(err, &done.Created)
		})
		open.Go(func() {
			err := c.client.CoreV1().Pods(drop.Namespace).Delete(ctx, drop.Name, metav1.DeleteOptions{})
			count(err, &done.Deleted)
		})
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	done.Seconds = time.Since(begun).Seconds()
	open.Wait()
	return done
}

// Settle waits until the cluster is as large as planned again: what was
// deleted is gone, and what was created runs.
func (c *Churn) Settle(ctx context.Context) error {
	return awaitRunning(ctx, c.client, c.plan.Pods)
}
