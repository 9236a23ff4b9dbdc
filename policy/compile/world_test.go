// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

const thisNode = "here"

// world is the present objects, and judges a packet by walking over all of
// them: no class, set or interval.
type world struct {
	namespaces map[string]policy.Namespace
	pods       map[policy.ObjectKey]*policy.Pod
	policies   map[policy.ObjectKey]*policy.Policy
	services   map[policy.ObjectKey]*policy.Service
}

func newWorld() *world {
	return &world{map[string]policy.Namespace{}, map[policy.ObjectKey]*policy.Pod{},
		map[policy.ObjectKey]*policy.Policy{}, map[policy.ObjectKey]*policy.Service{}}
}

func (w *world) apply(b policy.Batch) {
	for _, n := range b.Namespaces {
		w.namespaces[n.Name] = n
	}
	for _, n := range b.DeletedNamespaces {
		delete(w.namespaces, n)
	}
	put(w.pods, b.Pods, b.DeletedPods, func(p *policy.Pod) policy.ObjectKey { return p.ObjectKey })
	put(w.policies, b.Policies, b.DeletedPolicies, func(p *policy.Policy) policy.ObjectKey { return p.ObjectKey })
	put(w.services, b.Services, b.DeletedServices, func(s *policy.Service) policy.ObjectKey { return s.ObjectKey })
}

func put[T any](to map[policy.ObjectKey]T, objects []T, gone []policy.ObjectKey, key func(T) policy.ObjectKey) {
	for _, o := range objects {
		to[key(o)] = o
	}
	for _, k := range gone {
		delete(to, k)
	}
}

// whole is the batch that makes this world out of nothing.
func (w *world) whole() policy.Batch {
	b := policy.Batch{Pods: values(w.pods), Policies: values(w.policies), Services: values(w.services), Synced: true}
	for _, name := range slices.Sorted(maps.Keys(w.namespaces)) {
		b.Namespaces = append(b.Namespaces, w.namespaces[name])
	}
	return b
}

func values[T any](objects map[policy.ObjectKey]T) []T {
	var all []T
	for _, key := range slices.SortedFunc(maps.Keys(objects), byName) {
		all = append(all, objects[key])
	}
	return all
}

func byName(a, b policy.ObjectKey) int {
	return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
}

func (w *world) subjects() []*policy.Pod {
	var subjects []*policy.Pod
	for _, p := range w.pods {
		if p.Node == thisNode && !p.HostNetwork && !p.Terminal {
			subjects = append(subjects, p)
		}
	}
	slices.SortFunc(subjects, func(a, b *policy.Pod) int { return byName(a.ObjectKey, b.ObjectKey) })
	return subjects
}

type answer struct {
	allowed bool
	rule    string
}

type packet struct {
	dir      policy.Direction
	peer     netip.Addr
	protocol policy.Protocol
	port     uint16
}

func ruleName(ref policy.RuleRef) string {
	return fmt.Sprintf("%s/%s %d %d", ref.Policy.Namespace, ref.Policy.Name, ref.Direction, ref.Index)
}

func (w *world) judge(subject *policy.Pod, pk packet) answer {
	var isolating []*policy.Policy
	for _, p := range w.policies {
		if p.Namespace == subject.Namespace && p.Isolates[pk.dir] && p.Subjects.Matches(subject.Labels) {
			isolating = append(isolating, p)
		}
	}
	if len(isolating) == 0 {
		return answer{allowed: true}
	}
	slices.SortFunc(isolating, func(a, b *policy.Policy) int { return cmp.Compare(a.Name, b.Name) })
	holders := w.holders(pk.peer)
	for _, p := range isolating {
		for i, r := range p.Rules[pk.dir] {
			if w.ruleAllows(p, r, subject, pk, holders) {
				return answer{true, ruleName(policy.RuleRef{Policy: p.ObjectKey, Direction: pk.dir, Index: i})}
			}
		}
	}
	return answer{}
}

func (w *world) holders(addr netip.Addr) []*policy.Pod {
	var holders []*policy.Pod
	for _, p := range w.pods {
		if !addr.IsLinkLocalUnicast() && !p.Terminal && !p.HostNetwork && slices.Contains(p.IPs, addr) {
			holders = append(holders, p)
		}
	}
	return holders
}

func (w *world) ruleAllows(p *policy.Policy, r policy.Rule, subject *policy.Pod, pk packet, holders []*policy.Pod) bool {
	peer := r.AnyPeer || slices.ContainsFunc(r.Peers, func(peer policy.Peer) bool { return w.peerMatches(p, peer, pk.peer, holders) })
	if !peer {
		return false
	}
	return r.AnyPort || slices.ContainsFunc(r.Ports, func(port policy.Port) bool {
		destination := []*policy.Pod{subject}
		if pk.dir == policy.Egress {
			destination = holders
		}
		return portMatches(port, pk, destination)
	})
}

func portMatches(p policy.Port, pk packet, destination []*policy.Pod) bool {
	if p.Protocol != pk.protocol || p.Protocol == policy.ICMP || p.Protocol == 0 {
		return false
	}
	if p.Name == "" {
		return p.First <= pk.port && pk.port <= p.Last && p.Last > 0
	}
	want := policy.NamedPort{Name: p.Name, Protocol: p.Protocol, Number: pk.port}
	for _, pod := range destination {
		if !slices.Contains(pod.Ports, want) {
			return false
		}
	}
	return len(destination) > 0
}

func (w *world) peerMatches(p *policy.Policy, peer policy.Peer, addr netip.Addr, holders []*policy.Pod) bool {
	if peer.Block != nil {
		return peer.Pods == nil && peer.Namespaces == nil && blockMatches(*peer.Block, addr)
	}
	if peer.Pods == nil && peer.Namespaces == nil {
		return false
	}
	for _, h := range holders {
		if peer.Pods != nil && !peer.Pods.Matches(h.Labels) {
			return false
		}
		ns, known := w.namespaces[h.Namespace]
		if peer.Namespaces == nil && h.Namespace != p.Namespace ||
			peer.Namespaces != nil && (!known || !peer.Namespaces.Matches(ns.Labels)) {
			return false
		}
	}
	return len(holders) > 0
}

func blockMatches(b policy.Block, addr netip.Addr) bool {
	link := netip.MustParsePrefix("fe80::/10")
	if link.Contains(addr) && (b.Prefix.Bits() < 10 || !link.Contains(b.Prefix.Addr())) {
		return false
	}
	return b.Prefix.Contains(addr) && !slices.ContainsFunc(b.Excepts, func(x netip.Prefix) bool { return x.Contains(addr) })
}

// machine is an engine, a compiler and the tables that come of them. It knows
// the rules that deltas told of, and no others, as the agent does.
type machine struct {
	engine   *resolve.Engine
	compiler *compile.Compiler
	tables   compile.Tables
	rules    map[resolve.RuleID]string
}

func newMachine() *machine {
	return &machine{
		engine: resolve.New(thisNode, resolve.Marks{Class: 7, Set: 70, Rule: 700}), compiler: compile.New(), rules: map[resolve.RuleID]string{},
	}
}

func (m *machine) apply(b policy.Batch) *resolve.Delta { return m.take(m.engine.Apply(b)) }

func (m *machine) collect() *resolve.Delta { return m.take(m.engine.Collect()) }

func (m *machine) take(d *resolve.Delta) *resolve.Delta {
	for _, id := range d.NewRules {
		if ref, _, ok := m.engine.Rule(id); ok {
			m.rules[id] = ruleName(ref)
		}
	}
	m.tables.Apply(m.compiler.Compile(d))
	for _, id := range d.GoneRules {
		delete(m.rules, id)
	}
	return d
}

func (m *machine) judge(subject *policy.Pod, pk packet) answer {
	allowed, rule, _, _ := m.tables.Judge(subject.ObjectKey, pk.dir, pk.peer, pk.protocol, pk.port)
	return answer{allowed, m.ruleName(rule)}
}

func (m *machine) ruleName(id resolve.RuleID) string {
	if id == 0 {
		return ""
	}
	name, ok := m.rules[id]
	if !ok {
		return fmt.Sprintf("unknown rule %d", id)
	}
	return name
}

func (m *machine) canonical() []string { return m.tables.Canonical(m.ruleName) }

// agree compares the tables with the world on every subject and packet.
func agree(t *testing.T, m *machine, w *world, packets []packet, when string) {
	t.Helper()
	for _, s := range w.subjects() {
		for _, pk := range packets {
			if got, want := m.judge(s, pk), w.judge(s, pk); got != want {
				t.Fatalf("%s: %s/%s %+v: tables %+v, want %+v", when, s.Namespace, s.Name, pk, got, want)
			}
		}
	}
}

// newRand prints its seed, so that a failure can be run again.
func newRand(t testing.TB, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
