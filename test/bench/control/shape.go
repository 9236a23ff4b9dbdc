// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/rig"
)

// Shape of a cluster. Namespace 0 has Big pods to itself; the others share the
// rest. Every policy selects all pods of its namespace.
type Shape struct{ Namespaces, Pods, Policies, Local, Big int }

// Shapes of the published figures; the last is the largest of which another
// project has published figures.
func Shapes() []Shape {
	return []Shape{
		{Namespaces: 50, Pods: 1000, Policies: 150, Local: 30, Big: 500},
		{Namespaces: 500, Pods: 10_000, Policies: 1500, Local: 100, Big: 5000},
		{Namespaces: 5000, Pods: 50_000, Policies: 15_000, Local: 250, Big: 5000},
		{Namespaces: 25_000, Pods: 100_000, Policies: 75_000, Local: 250, Big: 5000},
	}
}

func (s Shape) batch() policy.Batch {
	b := policy.Batch{Synced: true}
	for i := range s.Namespaces {
		b.Namespaces = append(b.Namespaces, namespace(i, "blue"))
	}
	for i := range s.Pods {
		b.Pods = append(b.Pods, s.pod(i))
	}
	for i := range s.Policies {
		b.Policies = append(b.Policies, s.policy(i))
	}
	return b
}

const (
	teams     = 50
	monitored = "app-7"
)

func namespace(i int, colour string) policy.Namespace {
	return policy.Namespace{Name: fmt.Sprintf("ns-%d", i), Labels: map[string]string{
		"kubernetes.io/metadata.name": fmt.Sprintf("ns-%d", i), "team": fmt.Sprintf("team-%d", i%teams), "colour": colour,
	}}
}

// pod: each has a label of its own, as StatefulSets give them.
func (s Shape) pod(i int) *policy.Pod {
	p := &policy.Pod{UID: fmt.Sprintf("uid-%d", i), Node: "there"}
	p.Name, p.Namespace = fmt.Sprintf("pod-%d", i), "ns-0"
	if i >= s.Big {
		p.Namespace = fmt.Sprintf("ns-%d", 1+i%(s.Namespaces-1))
	}
	if i%(s.Pods/s.Local+1) == 0 {
		p.Node = rig.Node
	}
	address := i + 256 // no address ends in all zeros
	p.IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(address >> 16), byte(address >> 8), byte(address)})}
	p.Labels = map[string]string{
		"app": fmt.Sprintf("app-%d", i%10), "tier": fmt.Sprintf("tier-%d", i%3),
		"pod-template-hash": fmt.Sprintf("%x", i/3), "statefulset.kubernetes.io/pod-name": p.Name,
	}
	p.Ports = []policy.NamedPort{{Name: "http", Protocol: policy.TCP, Number: 8080}}
	return p
}

// policy: a default deny that lets DNS out; the clients of an app, by team; and
// monitoring, with a block and a colour.
func (s Shape) policy(i int) *policy.Policy {
	p := &policy.Policy{}
	p.Namespace, p.Name = fmt.Sprintf("ns-%d", i%s.Namespaces), fmt.Sprintf("policy-%d", i/s.Namespaces)
	port := func(protocol policy.Protocol, number uint16) []policy.Port {
		return []policy.Port{{Protocol: protocol, First: number, Last: number}}
	}
	switch i / s.Namespaces % 3 {
	case 0:
		p.Isolates = [2]bool{true, true}
		p.Rules[policy.Egress] = []policy.Rule{{Peers: []policy.Peer{{Namespaces: selector("kubernetes.io/metadata.name", "ns-1")}}, Ports: port(policy.UDP, 53)}}
	case 1:
		p.Isolates[policy.Ingress] = true
		p.Rules[policy.Ingress] = []policy.Rule{
			{Peers: []policy.Peer{{Pods: &policy.Selector{}}}, AnyPort: true},
			{Peers: []policy.Peer{{Namespaces: selector("team", fmt.Sprintf("team-%d", (i+1)%teams)), Pods: selector("app", fmt.Sprintf("app-%d", i%10))}}, Ports: []policy.Port{{Protocol: policy.TCP, Name: "http"}}},
		}
	case 2:
		p.Isolates = [2]bool{true, true}
		p.Rules[policy.Ingress] = []policy.Rule{{Peers: []policy.Peer{{Namespaces: &policy.Selector{}, Pods: selector("app", monitored)}}, Ports: port(policy.TCP, 9090)}}
		block := &policy.Block{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i % 200), 0}), 24)}
		p.Rules[policy.Egress] = []policy.Rule{{Peers: []policy.Peer{{Block: block}, {Namespaces: selector("colour", "red")}}, Ports: port(policy.TCP, 443)}}
	}
	return p
}

func selector(key, value string) *policy.Selector {
	return &policy.Selector{Requirements: []policy.Requirement{{Key: key, Operator: policy.In, Values: []string{value}}}}
}

// localOne is a local pod outside the big namespace.
func (s Shape) localOne() (index int) {
	for index = s.Big; s.pod(index).Node != rig.Node; index++ {
	}
	return index
}

// change is one operation, and what undoes it.
type change struct {
	name     string
	do, undo policy.Batch
}

// changes of a cluster in which known is a pod elsewhere with a class.
func (s Shape) changes(known *policy.Pod) []change {
	pods := func(list ...*policy.Pod) policy.Batch { return policy.Batch{Pods: list} }
	policies := func(p *policy.Policy) policy.Batch { return policy.Batch{Policies: []*policy.Policy{p}} }
	fresh, relabelled := *known, *known
	fresh.Name, fresh.UID, fresh.IPs = "fresh", "fresh", []netip.Addr{netip.MustParseAddr("10.200.0.1")}
	relabelled.Labels = maps.Clone(known.Labels)
	relabelled.Labels["app"] = "app-none"
	local := s.pod(s.localOne())
	var before *policy.Policy // the first of the local pod's namespace
	for i := 0; before == nil; i++ {
		if p := s.policy(i); p.Namespace == local.Namespace {
			before = p
		}
	}
	changed := *before
	changed.Rules[policy.Egress] = []policy.Rule{{Peers: before.Rules[policy.Egress][0].Peers, Ports: []policy.Port{{Protocol: policy.TCP, First: 53, Last: 53}}}}
	return []change{
		{PodAdded, pods(&fresh), policy.Batch{DeletedPods: []policy.ObjectKey{fresh.ObjectKey}}},
		{PodRemoved, policy.Batch{DeletedPods: []policy.ObjectKey{known.ObjectKey}}, pods(known)},
		{PodRelabelled, pods(&relabelled), pods(known)},
		{PolicyChanged, policies(&changed), policies(before)},
		{NamespaceRelabelled, policy.Batch{Namespaces: []policy.Namespace{namespace(0, "red")}}, policy.Batch{Namespaces: []policy.Namespace{namespace(0, "blue")}}},
	}
}
