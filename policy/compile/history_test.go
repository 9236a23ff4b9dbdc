// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// TestRandomHistories compares the tables after every event with the walk over
// all objects, with and without Collect in between.
func TestRandomHistories(t *testing.T) {
	packets := allPackets()
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := chance{newRand(t, seed)}
			m, w := newMachine(), newWorld()
			for i := range 60 {
				b := c.event()
				w.apply(b)
				m.apply(b)
				agree(t, m, w, packets, fmt.Sprintf("event %d", i))
				if c.often() {
					continue
				}
				before := m.tables.Epoch
				m.collect()
				if m.tables.Epoch != before {
					t.Fatalf("event %d: Collect moved the epoch", i)
				}
				agree(t, m, w, packets, fmt.Sprintf("collected after event %d", i))
				if d := m.engine.Collect(); !d.Empty() {
					t.Fatalf("event %d: Collect left something: %+v", i, d)
				}
			}
		})
	}
}

// TestNoWrongInstant applies the update of one event write by write: every
// packet has the verdict from before or from after, at every step.
func TestNoWrongInstant(t *testing.T) {
	packets := allPackets()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := chance{newRand(t, 1000+seed)}
			m, w := newMachine(), newWorld()
			for range 40 {
				b := c.event()
				before := verdicts(m, w, packets)
				w.apply(b)
				after := judgements(w, packets)
				checkSteps(t, m, w, packets, m.compiler.Compile(m.engine.Apply(b)), before, after)
				if c.often() {
					continue // as where the next change comes at once
				}
				checkSteps(t, m, w, packets, m.compiler.Compile(m.engine.Collect()), after, after)
			}
		})
	}
}

func checkSteps(t *testing.T, m *machine, w *world, packets []packet, u *compile.Update, before, after map[question]bool) {
	t.Helper()
	for i, step := range steps(u) {
		m.tables.Apply(step)
		for q, now := range verdicts(m, w, packets) {
			old, known := before[q]
			if known && now != old && now != after[q] {
				t.Fatalf("step %d %+v: %+v is %t, before it was %t", i, step, q, now, old)
			}
		}
	}
}

type question struct {
	subject policy.ObjectKey
	packet
}

// judgements are the world's.
func judgements(w *world, packets []packet) map[question]bool {
	all := map[question]bool{}
	for _, s := range w.subjects() {
		for _, pk := range packets {
			all[question{s.ObjectKey, pk}] = w.judge(s, pk).allowed
		}
	}
	return all
}

// verdicts are the tables' for the subjects that they know and the world has.
func verdicts(m *machine, w *world, packets []packet) map[question]bool {
	all := map[question]bool{}
	for _, s := range w.subjects() {
		if _, told := m.tables.Subjects[s.ObjectKey]; !told {
			continue
		}
		for _, pk := range packets {
			// What a pod sends to itself is not judged by its sets, and a pod that
			// gets an address and other labels at once has both in any order.
			if !slices.Contains(s.IPs, pk.peer) {
				all[question{s.ObjectKey, pk}] = m.judge(s, pk).allowed
			}
		}
	}
	return all
}

// steps is u in single writes, in its order.
func steps(u *compile.Update) []*compile.Update {
	steps := []*compile.Update{{Rows: u.Rows}}
	for i := range u.Peers {
		steps = append(steps, &compile.Update{Peers: u.Peers[i : i+1]})
	}
	for i := range u.Prefixes {
		steps = append(steps, &compile.Update{Prefixes: u.Prefixes[i : i+1]})
	}
	for i := range u.Subjects {
		steps = append(steps, &compile.Update{Subjects: u.Subjects[i : i+1]})
	}
	steps = append(steps, &compile.Update{MoveEpoch: u.MoveEpoch, GoneSubjects: u.GoneSubjects})
	// The order of deletions is the data path's own: reversed is harder.
	steps = append(steps, &compile.Update{GoneRows: u.GoneRows}, &compile.Update{GonePrefixes: u.GonePrefixes})
	return append(steps, &compile.Update{GonePeers: u.GonePeers})
}

// TestEqualTables: the tables depend on the present state, never on the path.
func TestEqualTables(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := chance{newRand(t, 2000+seed)}
			var history []policy.Batch
			w := newWorld()
			for range 50 {
				b := c.event()
				history = append(history, b)
				w.apply(b)
			}
			parts := split(w.whole())
			backwards := slices.Clone(parts)
			slices.Reverse(backwards)
			shuffled := slices.Clone(parts)
			c.Shuffle(len(parts), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			want := run(t, []policy.Batch{w.whole()}, 0)
			for name, batches := range map[string][]policy.Batch{
				"as it came": history, "split": parts, "backwards": backwards, "shuffled": shuffled,
				"repeated": slices.Concat(shuffled, parts, backwards), "noise": slices.Concat(c.noise(w), parts),
			} {
				for _, every := range []int{0, 1, 7} {
					if diff := cmp.Diff(want, run(t, batches, every)); diff != "" {
						t.Fatalf("%s, collected every %d: -want +got\n%s", name, every, diff)
					}
				}
			}
		})
	}
}

// run returns the canonical tables after the batches and a Collect.
func run(t *testing.T, batches []policy.Batch, every int) []string {
	m := newMachine()
	m.take(m.engine.SetNodeAddrs([]netip.Addr{netip.MustParseAddr("10.0.1.1")}))
	for i, b := range batches {
		m.apply(b)
		if every > 0 && i%every == 0 {
			m.collect()
		}
	}
	m.collect()
	checkKept(t, m)
	return m.canonical()
}

// checkKept compares what the engine says it keeps with what the tables use.
func checkKept(t *testing.T, m *machine) {
	t.Helper()
	sets, classes := map[resolve.SetID]bool{}, map[resolve.ClassID]bool{}
	for _, s := range m.tables.Subjects {
		sets[s.Ingress], sets[s.Egress] = true, true
	}
	for _, p := range m.tables.Peers {
		classes[resolve.ClassID(p.Class)] = true
	}
	for _, class := range m.tables.Cidrs {
		classes[class] = true
	}
	for _, s := range m.engine.Sets() {
		if !sets[s.ID] {
			t.Errorf("set %d is kept, and no subject has it", s.ID)
		}
	}
	for _, c := range m.engine.Classes() {
		if !classes[c.ID] {
			t.Errorf("class %d is kept, and no address has it", c.ID)
		}
	}
}

// split makes a batch of each object of b.
func split(b policy.Batch) []policy.Batch {
	var parts []policy.Batch
	for _, n := range b.Namespaces {
		parts = append(parts, policy.Batch{Namespaces: []policy.Namespace{n}})
	}
	for _, p := range b.Pods {
		parts = append(parts, policy.Batch{Pods: []*policy.Pod{p}})
	}
	for _, p := range b.Policies {
		parts = append(parts, policy.Batch{Policies: []*policy.Policy{p}})
	}
	for _, s := range b.Services {
		parts = append(parts, policy.Batch{Services: []*policy.Service{s}})
	}
	return parts
}

// noise is objects that come and, unless the world has them, go again.
func (c chance) noise(w *world) []policy.Batch {
	var came, gone []policy.Batch
	for range 20 {
		pod, pol := c.pod(), c.policy()
		came = append(came, policy.Batch{Pods: []*policy.Pod{pod}, Policies: []*policy.Policy{pol}})
		if w.pods[pod.ObjectKey] == nil {
			gone = append(gone, policy.Batch{DeletedPods: []policy.ObjectKey{pod.ObjectKey}})
		}
		if w.policies[pol.ObjectKey] == nil {
			gone = append(gone, policy.Batch{DeletedPolicies: []policy.ObjectKey{pol.ObjectKey}})
		}
	}
	return append(came, gone...)
}
