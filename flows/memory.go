// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// memory of one live flow: what its last record must say and the table of flows
// does not. Pods, Services, rules and lists are shared with whoever knows them.
type memory struct {
	id    uint64
	start uint64 // CLOCK_MONOTONIC
	wall  int64  // what the event of the first packet gave for it, in ns since 1970; 0: none came
	told  uint64 // the same, of the last record
	seen  uint32 // number of the pass that met it last, or before which it began
	first uint32 // tick of the first packet, once a pass has met the entry
	met   bool
	over  bool // its end was told
	// uncounted: no ledger has it as a flow yet.
	uncounted bool
	// moved and bytes are both directions together, at the last look.
	moved, bytes uint64
	toldMoved    uint64 // moved, when it was told last

	iface  string
	local  *policy.Pod
	remote Owner

	// What decided, for these ids.
	rule, set uint32
	decided   *policy.RuleRef
	rare      *rare
}

// rare is what few flows have.
type rare struct {
	service   *Peer
	isolating []policy.ObjectKey
	nearest   *Miss
}

func (r *rare) serviceOf() *Peer {
	if r == nil {
		return nil
	}
	return r.service
}

// sameStart is how far the event of a flow and the tick in its entry may be
// apart: a tick is up to 10 ms, and has been seen to come as much late.
const sameStart = 100 * time.Millisecond

func (m *memory) began(start uint64) bool {
	apart := time.Duration(start - m.start)
	return max(apart, -apart) < sameStart
}

// is tells the entry of this flow from that of a later one of its tuple. Ticks
// are compared where they are known: with a rate that does not divide 10^9 they
// and the clock drift apart, 100 ms in 12 days.
func (m *memory) is(first uint32, start uint64) bool {
	if m.met {
		return m.first == first
	}
	return m.began(start)
}

// cut takes over why a flow was cut. What had allowed it stays for the ledger.
func (m *memory) cut(f *Flow) {
	m.rare = &rare{service: m.rare.serviceOf(), isolating: f.Isolating, nearest: f.Nearest}
}

// learn takes over the names of a record.
func (m *memory) learn(f *Flow, rule, set uint32, remoteIsSource bool) {
	local, remote := &f.Source, &f.Destination
	if remoteIsSource {
		local, remote = remote, local
	}
	m.iface, m.local = f.Interface, local.Pod
	m.remote = Owner{Identity: remote.Identity, Pod: remote.Pod, Service: remote.Service}
	m.uncounted = m.uncounted || m.decided == nil || f.Rule == nil || *m.decided != *f.Rule
	m.rule, m.set, m.decided = rule, set, f.Rule
	m.rare = nil
	if f.Service != nil || f.Isolating != nil || f.Nearest != nil {
		m.rare = &rare{service: f.Service, isolating: f.Isolating, nearest: f.Nearest}
	}
}

// remind gives a record the names that were bound when the flow was first seen.
func (m *memory) remind(f *Flow, remoteIsSource bool) {
	local, remote := &f.Source, &f.Destination
	if remoteIsSource {
		local, remote = remote, local
	}
	f.Interface = m.iface
	if m.local != nil {
		local.Identity, local.Pod, local.Service = PodIdentity, m.local, nil
	}
	remote.Identity, remote.Pod, remote.Service = m.remote.Identity, m.remote.Pod, m.remote.Service
	if f.Verdict != Denied {
		f.Rule = m.decided
	}
	if m.rare == nil {
		return
	}
	f.Service = m.rare.service
	if m.rare.isolating != nil {
		f.Isolating, f.Nearest = m.rare.isolating, m.rare.nearest
	}
}

// keyOf is the entry of the table of flows that an event is about.
func keyOf(ev *bpf.WeirEvent) bpf.WeirFlowKey {
	return bpf.WeirFlowKey{
		Ifindex: ev.Ifindex, Local: ev.Local, Remote: ev.Remote,
		LocalPort: ev.LocalPort, RemotePort: ev.RemotePort, Protocol: ev.Protocol,
	}
}

func remoteBegan(initiator uint8) bool {
	return bpf.WeirSide(initiator) == bpf.WeirSideSIDE_REMOTE
}
