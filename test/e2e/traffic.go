// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const trafficProgram = "/weir-traffic"

// StartTraffic makes a pod that runs weir-traffic with arguments, and does not
// wait.
func (n *Namespace) StartTraffic(name string, o PodOptions, args ...string) *Pod {
	n.t.Helper()
	container := corev1.Container{
		Name:  "traffic",
		Image: trafficImage(),
		Args:  append([]string{"run"}, args...),
		Ports: []corev1.ContainerPort{
			{Name: "tcp", ContainerPort: traffic.PortTCP},
			{Name: "udp", ContainerPort: traffic.PortUDP, Protocol: corev1.ProtocolUDP},
			{Name: "totals", ContainerPort: traffic.PortTotals},
		},
	}
	if !o.Once {
		container.ReadinessProbe = httpProbe("/totals", 3)
		container.ReadinessProbe.HTTPGet.Port = intstr.FromString("totals")
	}
	p := n.start(name, o, container)
	p.traffic = true
	return p
}

// Calls of a kind to each address of the pod, as arguments of StartTraffic.
func (p *Pod) Calls(kinds ...traffic.Kind) []string {
	var args []string
	for _, address := range p.Addresses {
		for _, kind := range kinds {
			port := uint16(traffic.PortTCP)
			if kind == traffic.Datagram {
				port = traffic.PortUDP
			}
			target := traffic.Target{Kind: kind, Address: netip.AddrPortFrom(address, port)}
			args = append(args, "-call="+target.String())
		}
	}
	return args
}

// probe targets all at once from inside a pod that runs weir-traffic; the
// verdicts come in their order.
func (p *Pod) probe(ctx context.Context, targets []Target) ([]Verdict, error) {
	command := []string{trafficProgram, "probe"}
	for _, t := range targets {
		kind := traffic.Connect
		if t.Protocol == "udp" {
			kind = traffic.Datagram
		}
		command = append(command, traffic.Target{Kind: kind, Address: t.Address}.String())
	}
	out, code, err := p.Exec(ctx, command...)
	if err != nil {
		return nil, err
	}
	var results []traffic.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != len(targets) {
		return nil, fmt.Errorf("probe in %s: exit code %d, %q: %w", p, code, out, err)
	}
	verdicts := make([]Verdict, len(results))
	for i, r := range results {
		switch {
		case r.Answered:
			verdicts[i] = Passed
		case r.Silent:
			verdicts[i] = Denied
		default:
			verdicts[i] = Verdict(r.Problem)
		}
	}
	return verdicts, nil
}

// Totals of a pod that runs weir-traffic.
func (p *Pod) Totals(ctx context.Context) (traffic.Totals, error) {
	return p.totals(ctx, "totals")
}

// Stop the calls of a pod that runs weir-traffic; what it had counted by then.
func (p *Pod) Stop(ctx context.Context) (traffic.Totals, error) {
	return p.totals(ctx, "stop")
}

func (p *Pod) totals(ctx context.Context, page string) (traffic.Totals, error) {
	var totals traffic.Totals
	out, code, err := p.Exec(ctx, trafficProgram, "get", fmt.Sprintf("http://127.0.0.1:%d/%s", traffic.PortTotals, page))
	if err == nil && code != 0 {
		err = fmt.Errorf("%s of %s: %s", page, p, out)
	}
	if err != nil {
		return totals, err
	}
	return totals, json.Unmarshal([]byte(out), &totals)
}

// Result of a pod whose weir-traffic ended by itself, from its log. The pod may
// not have ended yet: errRuns.
func (p *Pod) Result(ctx context.Context) (traffic.Totals, error) {
	var totals traffic.Totals
	pod, err := p.get(ctx)
	if err != nil {
		return totals, err
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
	case corev1.PodFailed:
		return totals, fmt.Errorf("pod %s failed: %s", p, pod.Status.Message)
	default:
		return totals, fmt.Errorf("pod %s is %s: %w", p, pod.Status.Phase, errRuns)
	}
	raw, err := p.namespace.cluster.client.CoreV1().Pods(p.namespace.Name).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return totals, err
	}
	if err := json.Unmarshal(raw, &totals); err != nil {
		return totals, fmt.Errorf("log of %s: %w: %s", p, err, raw)
	}
	return totals, nil
}

var errRuns = errors.New("it runs")

// trafficTargets of a pod that runs weir-traffic, for calls one by one.
func (p *Pod) trafficTargets() []Target {
	var list []Target
	for _, a := range p.Addresses {
		list = append(list, Target{"tcp", netip.AddrPortFrom(a, traffic.PortTCP)}, Target{"udp", netip.AddrPortFrom(a, traffic.PortUDP)})
	}
	return list
}
