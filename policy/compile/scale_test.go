// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bufio"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// shape of a cluster. Namespace 0 has big pods of its own.
type shape struct{ namespaces, pods, policies, local, big int }

var shapes = []shape{
	{namespaces: 500, pods: 10_000, policies: 1_500, local: 100, big: 5_000},
	{namespaces: 25_000, pods: 100_000, policies: 75_000, local: 250, big: 5_000},
}

func (s shape) String() string {
	return fmt.Sprintf("%dk_pods_%dk_policies", s.pods/1000, s.policies/1000)
}

func (s shape) batch() policy.Batch {
	b := policy.Batch{Synced: true}
	for i := range s.namespaces {
		b.Namespaces = append(b.Namespaces, s.namespace(i, "blue"))
	}
	for i := range s.pods {
		b.Pods = append(b.Pods, s.pod(i))
	}
	for i := range s.policies {
		b.Policies = append(b.Policies, s.policy(i))
	}
	return b
}

func (s shape) namespace(i int, colour string) policy.Namespace {
	name := fmt.Sprintf("ns-%d", i)
	return policy.Namespace{Name: name, Labels: map[string]string{
		"kubernetes.io/metadata.name": name, "team": fmt.Sprintf("team-%d", i%100), "colour": colour,
	}}
}

// pod: every third carries a label that no other pod has, as StatefulSets give.
func (s shape) pod(i int) *policy.Pod {
	ns, app := 0, i%20
	if i >= s.big {
		ns = i % s.namespaces
	}
	p := &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: fmt.Sprintf("ns-%d", ns), Name: fmt.Sprintf("pod-%d", i)}, UID: fmt.Sprintf("uid-%d", i), Node: "there",
		IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		Labels: map[string]string{
			"app": fmt.Sprintf("app-%d", app), "pod-template-hash": fmt.Sprintf("hash-%d", i/3), "tier": fmt.Sprintf("tier-%d", i%3),
		},
		Ports: []policy.NamedPort{{Name: "http", Protocol: policy.TCP, Number: 8080}, {Name: "metrics", Protocol: policy.TCP, Number: 9090}},
	}
	if i%3 == 0 {
		p.Labels["statefulset.kubernetes.io/pod-name"] = p.Name
	}
	if i%(s.pods/s.local+1) == 0 { // no divisor of the namespaces: most are alone in theirs
		p.Node = thisNode
	}
	return p
}

// policy: three kinds in turn, so each namespace has default deny with DNS, the
// clients of its apps, and monitoring with a block.
func (s shape) policy(i int) *policy.Policy {
	ns, kind := i%s.namespaces, i/s.namespaces%3
	p := &policy.Policy{ObjectKey: policy.ObjectKey{Namespace: fmt.Sprintf("ns-%d", ns), Name: fmt.Sprintf("policy-%d", i)}}
	in := func(key, value string) *policy.Selector {
		return &policy.Selector{Requirements: []policy.Requirement{{Key: key, Operator: policy.In, Values: []string{value}}}}
	}
	switch kind {
	case 0:
		p.Isolates = [2]bool{true, true}
		p.Rules[policy.Egress] = []policy.Rule{rule([]policy.Peer{{Namespaces: in("kubernetes.io/metadata.name", "ns-1")}}, udp53)}
	case 1:
		p.Isolates = [2]bool{true, false}
		p.Rules[policy.Ingress] = []policy.Rule{
			rule([]policy.Peer{{Pods: &policy.Selector{}}}, tcp80),
			rule([]policy.Peer{{Namespaces: in("team", fmt.Sprintf("team-%d", (i+1)%100)), Pods: in("app", fmt.Sprintf("app-%d", i%20))}}, tcp443),
		}
	case 2:
		p.Isolates = [2]bool{true, true}
		p.Rules[policy.Ingress] = []policy.Rule{rule([]policy.Peer{{Namespaces: &policy.Selector{}, Pods: in("app", "app-7")}}, policy.Port{Protocol: policy.TCP, Name: "metrics"})}
		block := &policy.Block{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i % 250), 0}), 24)}
		p.Rules[policy.Egress] = []policy.Rule{rule([]policy.Peer{{Block: block}, {Namespaces: in("colour", "red")}}, tcp443)}
	}
	return p
}

// started is a machine without tables: the benchmarks are of the engine and
// the compiler.
func started(b *testing.B, s shape) (*resolve.Engine, *compile.Compiler) {
	b.Helper()
	e, c := resolve.New(thisNode, resolve.Marks{}), compile.New()
	c.Compile(e.Apply(s.batch()))
	return e, c
}

func BenchmarkFullStart(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.String(), func(b *testing.B) {
			batch := s.batch()
			rows, classes, peers := 0, 0, 0
			for b.Loop() {
				e, c := resolve.New(thisNode, resolve.Marks{}), compile.New()
				u := c.Compile(e.Apply(batch))
				rows, classes, peers = len(u.Rows), len(e.Classes()), len(u.Peers)
				runtime.KeepAlive(e)
			}
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(classes), "classes")
			b.ReportMetric(float64(peers), "peers")
			b.ReportMetric(peakMemory(b), "peak-MB")
		})
	}
}

// peakMemory is the most memory that the process has had, in MB.
func peakMemory(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb float64
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	b.Fatal("/proc/self/status has no VmHWM")
	return 0
}

// BenchmarkChange measures one change at a time. What undoes it, and Collect,
// are not counted.
func BenchmarkChange(b *testing.B) {
	for _, s := range shapes {
		e, c := started(b, s)
		known := s.pod(s.big)
		for i := s.big; known.Node == thisNode || e.Class(known.IPs[0]) == 0; i++ {
			known = s.pod(i)
		}
		fresh := new(*known)
		fresh.Name, fresh.IPs = "fresh", []netip.Addr{netip.MustParseAddr("10.200.0.1")}
		relabelled := *known
		relabelled.Labels = map[string]string{"rev": "2"}
		unseen := *known
		unseen.Labels = maps.Clone(known.Labels)
		unseen.Labels["rev"] = "2"
		local := 0
		for s.pod(local).Node != thisNode || s.pod(local).Namespace == "ns-0" {
			local++
		}
		nsIndex := local % s.namespaces
		before := s.policy(nsIndex)
		changed := *before
		changed.Rules[policy.Egress] = []policy.Rule{rule(nil, udp53, tcp443)}
		wide := *before
		wide.Rules[policy.Egress] = []policy.Rule{rule([]policy.Peer{{Namespaces: &policy.Selector{}}}, udp53)}
		blocks := *before
		blocks.Rules[policy.Egress] = []policy.Rule{rule([]policy.Peer{{Block: &policy.Block{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}}, udp53)}
		pods := func(p *policy.Pod) policy.Batch { return policy.Batch{Pods: []*policy.Pod{p}} }
		policies := func(p *policy.Policy) policy.Batch { return policy.Batch{Policies: []*policy.Policy{p}} }
		for _, row := range []struct {
			name     string
			do, undo policy.Batch
		}{
			{"pod_added", pods(fresh), policy.Batch{DeletedPods: []policy.ObjectKey{fresh.ObjectKey}}},
			{"pod_removed", policy.Batch{DeletedPods: []policy.ObjectKey{known.ObjectKey}}, pods(known)},
			{"pod_relabelled", pods(&relabelled), pods(known)},
			{"pod_relabelled_unseen", pods(&unseen), pods(known)},
			{"policy_changed", policies(&changed), policies(before)},
			{"policy_to_every_namespace", policies(&wide), policies(before)},
			{"policy_with_new_block", policies(&blocks), policies(before)},
			{"namespace_of_5000_relabelled", policy.Batch{Namespaces: []policy.Namespace{s.namespace(0, "red")}}, policy.Batch{Namespaces: []policy.Namespace{s.namespace(0, "blue")}}},
		} {
			b.Run(s.String()+"/"+row.name, func(b *testing.B) {
				var u *compile.Update
				for range b.N {
					b.StartTimer()
					u = c.Compile(e.Apply(row.do))
					b.StopTimer()
					c.Compile(e.Collect())
					c.Compile(e.Apply(row.undo))
					c.Compile(e.Collect())
				}
				b.ReportMetric(float64(len(u.Peers)), "peers")
				b.ReportMetric(float64(len(u.Rows)), "rows")
			})
		}
	}
}

// TestOnePodIsOneWrite: a pod that comes or goes among 10,000 is at most one
// write per address, and no row where its class is known.
func TestOnePodIsOneWrite(t *testing.T) {
	s := shapes[0]
	m := newMachine()
	m.apply(s.batch())
	written := 0
	for i := s.big + 1; i < s.pods; i += 97 {
		like := s.pod(i)
		p := *like
		p.Name, p.Node = "fresh", "there"
		p.IPs = []netip.Addr{netip.MustParseAddr("10.200.0.1"), netip.MustParseAddr("fd00::1")}
		p.Labels = map[string]string{"pod-template-hash": "fresh"}
		for k, v := range like.Labels {
			if !strings.Contains(k, "-") {
				p.Labels[k] = v
			}
		}
		came := m.apply(policy.Batch{Pods: []*policy.Pod{&p}})
		rows := len(m.tables.Rows)
		went := m.apply(policy.Batch{DeletedPods: []policy.ObjectKey{p.ObjectKey}})
		collected := m.collect()
		for name, d := range map[string]*resolve.Delta{"came": came, "went": went, "collected": collected} {
			if len(d.Peers) > 2 || len(d.Prefixes) > 0 || len(d.NewClasses) > 0 || len(d.NewSets) > 0 || len(d.Subjects) > 0 {
				t.Errorf("pod like %s %s: %d peers, %d prefixes, %d classes, %d sets, %d subjects", like.Name, name, len(d.Peers), len(d.Prefixes), len(d.NewClasses), len(d.NewSets), len(d.Subjects))
			}
		}
		if came.MoveEpoch || len(collected.Peers) > 0 || len(m.tables.Rows) != rows {
			t.Errorf("pod like %s: epoch moved %t, %d peers written by Collect, rows %d to %d", like.Name, came.MoveEpoch, len(collected.Peers), rows, len(m.tables.Rows))
		}
		written += len(came.Peers)
	}
	if written == 0 {
		t.Error("no pod had a class: the test tests nothing")
	}
}
