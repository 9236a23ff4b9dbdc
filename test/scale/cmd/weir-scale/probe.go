// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/scale/load"
	"github.com/weirnet/weir/test/scale/record"
)

// churnedProbes is how many churned pods of each kind are called.
const churnedProbes = 10

const (
	passLimit = 3 * time.Second
	denyLimit = 300 * time.Millisecond // SYNs without an answer
)

// call is a connection that must pass or must not.
type call struct {
	from  *netns.Namespace
	to    netip.Addr
	pass  bool
	title string
}

// probe connects local pods with one another and with pods that were churned,
// whose addresses the host beside the node has.
func (b *bench) probe(ctx context.Context) (record.Probes, error) {
	node := b.stage.Node
	pods := make([]*netns.Namespace, len(node.Pods))
	for i, p := range node.Pods {
		pods[i] = p.Namespace
	}
	var calls []call
	for _, row := range load.LocalCalls() {
		for _, to := range b.stage.Addrs[row.To] {
			calls = append(calls, call{pods[row.From], to, row.Pass, fmt.Sprintf("local pod %d to local pod %d", row.From, row.To)})
		}
	}
	churned, err := b.stage.Admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: load.Churning})
	if err != nil {
		return record.Probes{}, err
	}
	for _, kind := range []bool{true, false} {
		for _, pod := range some(churned.Items, kind) {
			for _, row := range load.ChurnCalls(&pod) {
				for _, ip := range pod.Status.PodIPs {
					title := fmt.Sprintf("local pod %d to %s/%s (%s)", row.From, pod.Namespace, pod.Name, load.Key(&pod))
					calls = append(calls, call{pods[row.From], netip.MustParseAddr(ip.IP), row.Pass, title})
				}
			}
		}
	}
	for _, ns := range append([]*netns.Namespace{node.Outside}, pods...) {
		echo, err := ns.ServeEcho(load.Port)
		if err != nil {
			return record.Probes{}, err
		}
		defer echo.Close()
	}
	var probes record.Probes
	var errs []error
	for _, c := range calls {
		if ctx.Err() != nil {
			return probes, context.Cause(ctx)
		}
		limit := denyLimit
		if c.pass {
			limit = passLimit
		}
		err := c.from.Try("tcp", netip.AddrPortFrom(c.to, load.Port), limit)
		switch {
		case c.pass && err == nil:
			probes.Allowed++
		case !c.pass && err != nil:
			probes.Denied++
		default:
			errs = append(errs, fmt.Errorf("%s at %s: passes %v (%v), want %v", c.title, c.to, err == nil, err, c.pass))
		}
	}
	b.say("%d connections allowed and %d denied, as the policies say", probes.Allowed, probes.Denied)
	if len(errs) == 0 && (probes.Allowed == 0 || probes.Denied == 0) {
		errs = append(errs, fmt.Errorf("nothing was shown: %+v", probes))
	}
	return probes, errors.Join(errs...)
}

// some churned pods that policies name, or that they do not.
func some(pods []corev1.Pod, named bool) []corev1.Pod {
	var out []corev1.Pod
	for i := range pods {
		if (load.Key(&pods[i]) != "") == named && len(out) < churnedProbes {
			out = append(out, pods[i])
		}
	}
	return out
}
