// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/api/server"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// Names of the conditions, in the order in which they are shown. The agent is
// ready when all that block are OK.
const (
	conditionSource    = "source"    // the source can be asked for changes
	conditionSynced    = "lists"     // the first full lists are applied
	conditionEndpoints = "endpoints" // every local pod is attached, or named
	conditionSelfTest  = "self-test" // a test packet through the live programs was answered right
	conditionApply     = "apply"     // the newest policy is in the maps
	conditionManifests = "manifests" // what the source holds can be used
	conditionRules     = "rules"     // each means something among the pods and Services of now
	conditionHooks     = "hooks"     // weir stands first, and nothing redirects past it
	conditionCNI       = "cni"       // the plugin is in the runtime's configuration, where it is asked for
	conditionConfig    = "configuration"
)

// condition is OK, or says why not.
type condition struct {
	server.Condition
	blocks bool // holds readiness back
	count  int  // of the faults, where they are many
}

// state is what the agent tells of itself. Each part has one writer.
type state struct {
	version, node string
	started       time.Time

	mu         sync.RWMutex
	mode       string
	source     string
	generation uint64
	lastApply  time.Duration
	endpoints  []server.Endpoint
	neighbours []server.Neighbour
	conditions []condition
	// Policies as they are in the maps, and those that are to follow; nil: to go.
	// A map that held is, is never changed.
	held, coming map[policy.ObjectKey]*policy.Policy
}

func newState(version, node string, now time.Time) *state {
	s := &state{version: version, node: node, started: now}
	s.set(conditionSource, false, nil, 0)
	for _, name := range []string{conditionSynced, conditionEndpoints, conditionSelfTest, conditionHooks} {
		s.set(name, true, fmt.Errorf("not done yet"), 0)
	}
	s.set(conditionApply, true, nil, 0)
	s.set(conditionManifests, true, nil, 0)
	s.set(conditionRules, false, nil, 0)
	s.set(conditionConfig, false, nil, 0)
	return s
}

// set a condition: err nil is OK. It reports whether it is another than before.
func (s *state) set(name string, blocks bool, err error, count int) bool {
	c := condition{Condition: server.Condition{Name: name, OK: err == nil}, blocks: blocks, count: count}
	if err != nil {
		c.Message = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.conditions, func(c condition) bool { return c.Name == name })
	if i < 0 {
		s.conditions = append(s.conditions, c)
		return true
	}
	changed := s.conditions[i] != c
	s.conditions[i] = c
	return changed
}

func (s *state) applied(generation uint64, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation, s.lastApply = generation, took
	if len(s.coming) == 0 {
		return
	}
	held := maps.Clone(s.held)
	if held == nil {
		held = map[policy.ObjectKey]*policy.Policy{}
	}
	for key, p := range s.coming {
		held[key] = p
		if p == nil {
			delete(held, key)
		}
	}
	s.held, s.coming = held, nil
}

// expect the policies of a batch. They are in force once a later change, or this
// one, has been applied: what finds no room is tried again with the next.
func (s *state) expect(b policy.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coming == nil {
		s.coming = map[policy.ObjectKey]*policy.Policy{}
	}
	for _, p := range b.Policies {
		s.coming[p.ObjectKey] = p
	}
	for _, key := range b.DeletedPolicies {
		s.coming[key] = nil
	}
}

func (s *state) setEndpoints(list []server.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = list
}

func (s *state) setNeighbours(list []server.Neighbour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.neighbours = list
}

func (s *state) setMode(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

// snapshot is a copy for readers; its lists are never changed in place.
type snapshot struct {
	mode, source string
	generation   uint64
	lastApply    time.Duration
	endpoints    []server.Endpoint
	neighbours   []server.Neighbour
	conditions   []condition
	held         map[policy.ObjectKey]*policy.Policy
}

// holds tells whether this version of a policy is in the maps.
func (s snapshot) holds(p *policy.Policy) bool { return s.held[p.ObjectKey] == p }

func (s *state) snapshot() snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return snapshot{s.mode, s.source, s.generation, s.lastApply, s.endpoints, s.neighbours, slices.Clone(s.conditions), s.held}
}

func (s snapshot) endpointsByState() map[string]uint32 {
	n := map[string]uint32{}
	for _, e := range s.endpoints {
		n[e.State]++
	}
	return n
}

// notReady names the conditions that hold readiness back; nil if none does.
func (s *state) notReady() error {
	for _, c := range s.snapshot().conditions {
		if c.blocks && !c.OK {
			return fmt.Errorf("%s: %s", c.Name, c.Message)
		}
	}
	return nil
}

// stateReader answers Agent.Status and Agent.Endpoints.
type stateReader struct {
	state    *state
	dir      *directory
	dp       *datapath.Datapath
	recorder *flows.Recorder
}

// Status implements server.StateReader.
func (r *stateReader) Status(context.Context) (server.Status, error) {
	s := r.state.snapshot()
	answer := server.Status{
		Version: r.state.version, Node: r.state.node, Started: r.state.started,
		Ready: r.state.notReady() == nil, Kernel: r.dp.Kernel(),
		Endpoints: s.endpointsByState(), Generation: s.generation, LastApply: s.lastApply,
		Neighbours: s.neighbours, Mode: s.mode, Source: s.source, Epoch: r.dp.Epoch(),
	}
	for _, c := range s.conditions {
		answer.Conditions = append(answer.Conditions, c.Condition)
	}
	for _, f := range r.dp.Features() {
		inUse := "no"
		if f.InUse {
			inUse = "yes"
		}
		answer.Features = append(answer.Features, server.Feature{Name: f.Name, InUse: inUse, Why: f.Note})
	}
	for _, u := range r.dp.Usage() {
		answer.Maps = append(answer.Maps, server.MapUse{Name: u.Map, Entries: uint64(u.Used), Capacity: uint64(u.Capacity)})
	}
	rings, err := r.dp.Lost()
	if err != nil {
		return answer, err
	}
	uses := r.dp.RingUse()
	for index, ring := range rings {
		answer.Emitted += ring.Emitted
		answer.Lost += ring.Lost
		answer.Rings = append(answer.Rings, server.Ring{
			Name: bpf.RingName(bpf.WeirRing(index)), Emitted: ring.Emitted, Lost: ring.Lost,
			Limited: ring.Limited, Thinned: ring.Thinned, Repeated: ring.Suppressed,
			Waiting: uses[index].Waiting, Size: uses[index].Size, Sample: uses[index].Sample,
		})
	}
	programs, err := r.dp.Programs()
	if err != nil {
		return answer, err
	}
	for _, p := range programs {
		answer.Programs = append(answer.Programs, server.Program{Name: p.Name, RunCount: p.Count, RunTime: p.Time})
	}
	remembered, capacity, overflow := r.recorder.Remembered()
	answer.Remembered, answer.RememberedCapacity, answer.NotRemembered = uint64(remembered), uint64(capacity), overflow
	return answer, nil
}

// Endpoints implements server.StateReader.
func (r *stateReader) Endpoints(context.Context) ([]server.Endpoint, error) {
	list := slices.Clone(r.state.snapshot().endpoints)
	r.dir.mu.RLock()
	defer r.dir.mu.RUnlock()
	for i := range list {
		pod, ok := r.dir.pods[list[i].Pod]
		if !ok {
			continue
		}
		list[i].IngressPolicies = keysOf(r.dir.policiesOf(pod, policy.Ingress))
		list[i].EgressPolicies = keysOf(r.dir.policiesOf(pod, policy.Egress))
	}
	return list, nil
}

func keysOf(policies []*policy.Policy) []policy.ObjectKey {
	keys := slices.Grow([]policy.ObjectKey(nil), len(policies))
	for _, p := range policies {
		keys = append(keys, p.ObjectKey)
	}
	return keys
}
