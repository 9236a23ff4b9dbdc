// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// atOnce is how many requests are on their way.
const atOnce = 16

// each calls f for 0 to n-1, some at a time.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// Local makes the namespaces, the node under test and its pods, with the
// addresses that they have; number i has addrs[i].
func Local(ctx context.Context, client kubernetes.Interface, p Plan, addrs [][]netip.Addr) error {
	if _, err := client.CoreV1().Nodes().Create(ctx, localNode(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("node under test: %w", err)
	}
	err := each(ctx, p.Namespaces, func(ctx context.Context, i int) error { return makeNamespace(ctx, client, i) })
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	err = each(ctx, p.Local, func(ctx context.Context, i int) error {
		pod, err := client.CoreV1().Pods(namespaceName(i%p.Namespaces)).Create(ctx, LocalPod(i, p), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: addrs[i][0].String()}
		for _, a := range addrs[i] {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a.String()})
		}
		_, err = client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("local pods: %w", err)
	}
	return nil
}

// makeNamespace with the ServiceAccount that a controller would make, and
// without which no pod can be.
func makeNamespace(ctx context.Context, client kubernetes.Interface, i int) error {
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace(i), metav1.CreateOptions{}); err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err := client.CoreV1().ServiceAccounts(namespaceName(i)).Create(ctx, account, metav1.CreateOptions{})
	return err
}

// Cluster makes the fake nodes, policies and pods, the first churned ones
// among them, and waits until kwok has them run.
func Cluster(ctx context.Context, client kubernetes.Interface, p Plan, say func(string, ...any)) error {
	made := func(ctx context.Context, what string, n int, f func(context.Context, int) error) error {
		begun := time.Now()
		if err := each(ctx, n, f); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		say("%d %s made in %.1f s", n, what, time.Since(begun).Seconds())
		return nil
	}
	if err := made(ctx, "nodes", p.Nodes, func(ctx context.Context, i int) error {
		_, err := client.CoreV1().Nodes().Create(ctx, node(i), metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := made(ctx, "policies", p.Policies, func(ctx context.Context, i int) error {
		policy := policy(i, p)
		_, err := client.NetworkingV1().NetworkPolicies(policy.Namespace).Create(ctx, policy, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	steady := p.Steady()
	if err := made(ctx, "pods", steady+p.Churned(), func(ctx context.Context, i int) error {
		pod := churnPod(i-steady, p)
		if i < steady {
			pod = steadyPod(i, p)
		}
		_, err := client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	begun := time.Now()
	if err := awaitRunning(ctx, client, p.Pods); err != nil {
		return err
	}
	say("all %d pods run after another %.1f s", p.Pods, time.Since(begun).Seconds())
	return nil
}

// awaitRunning until so many pods run.
func awaitRunning(ctx context.Context, client kubernetes.Interface, want int) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		running := 0
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil && len(pod.Status.PodIPs) > 0 {
				running++
			}
		}
		if running == want && len(list.Items) == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods run, %d are there: %w", running, want, len(list.Items), context.Cause(ctx))
		case <-tick.C:
		}
	}
}
