// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"sync"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Ledger takes account of what rules decide. It is called with the Recorder
// locked, and must not call it back.
type Ledger interface {
	// Passed: a flow that the rule decided has carried so much more, both
	// directions; began: it had not been counted for this rule before.
	Passed(rule policy.RuleRef, began bool, packets, bytes uint64)
	// Denied: so many packets, for want of a rule of these policies.
	Denied(isolating []policy.ObjectKey, packets uint64)
}

// Defaults and bounds of a Recorder.
const (
	// DefaultMemory is how many live flows are remembered unless told
	// otherwise. Each takes about 300 bytes (TestMemoryOfLiveFlows).
	DefaultMemory = 1 << 17
	// DefaultActive is how often a long flow is told of.
	DefaultActive = 30 * time.Second
	// settle is how long a closed connection must be silent before its end is
	// told: its last packets are to be in the counters.
	settle = 2 * time.Second
)

// RecorderOptions: Enricher is needed, the others have defaults.
type RecorderOptions struct {
	Enricher *Enricher
	// Memory bounds the live flows whose names are kept until they end; those
	// beyond have the names of the time when their end is told, no active
	// records, and no Service.
	Memory int
	// Active is the time between two records of a flow that goes on.
	Active time.Duration
	// FirstID of the ids of flows; one that other agents and runs hardly have.
	FirstID uint64
	// Ledger nil: nobody takes account.
	Ledger Ledger
}

// Recorder makes records of flows: from events at once, and from walks over the
// table of flows. It remembers the names that a flow had when it began, so that
// its last record has them when its pod is long gone, and gives all records of
// a flow one id. Its methods may be called by several goroutines, but one pass
// at a time.
type Recorder struct {
	options RecorderOptions

	mu       sync.Mutex
	flows    map[bpf.WeirFlowKey]*memory
	ids      uint64
	began    uint64 // CLOCK_MONOTONIC
	passes   uint32
	overflow uint64
}

// NewRecorder fills in defaults.
func NewRecorder(o RecorderOptions) *Recorder {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Active == 0 {
		o.Active = DefaultActive
	}
	_, now := o.Enricher.options.Clock()
	return &Recorder{options: o, flows: map[bpf.WeirFlowKey]*memory{}, ids: o.FirstID, began: now}
}

// Remembered tells how many live flows are remembered, how many can be, and how
// many came when there was no room.
func (r *Recorder) Remembered() (flows, capacity int, overflow uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flows), r.options.Memory, r.overflow
}

// Event makes a record of a checked event.
func (r *Recorder) Event(ev *bpf.WeirEvent) *Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.options.Enricher.Flow(ev)
	if r.options.Ledger != nil && f.Verdict != Allowed && f.Isolating != nil {
		r.options.Ledger.Denied(f.Isolating, 1+uint64(f.Repeats))
	}
	if f.Verdict == Denied && f.Kind == New {
		return f
	}
	key := keyOf(ev)
	m := r.flows[key]
	// A walk may have met the entry before its event was read.
	if m == nil || f.Kind == New && !m.began(ev.Time) {
		if m = r.remember(key, ev.Time); m == nil {
			return f
		}
	}
	f.ID = m.id
	if f.Kind == New {
		m.start, m.wall = ev.Time, f.Time.UnixNano()
	}
	if f.Verdict == Denied {
		m.cut(f)
	} else {
		m.learn(f, ev.Rule, ev.Set, remoteBegan(ev.Initiator))
	}
	return f
}

// remember begins a new memory, in place of that of an earlier flow of the
// tuple; nil: there is no room.
func (r *Recorder) remember(key bpf.WeirFlowKey, start uint64) *memory {
	if _, again := r.flows[key]; !again && len(r.flows) >= r.options.Memory {
		r.overflow++
		return nil
	}
	r.ids++
	if r.ids == 0 {
		r.ids++
	}
	m := &memory{id: r.ids, start: start, told: start, seen: r.passes}
	r.flows[key] = m
	return m
}

// Pass is one walk over the table of flows. Each entry is given to Live or to
// Closed once; End closes the pass.
type Pass struct {
	recorder *Recorder
	now      uint64
	age      func(ticks uint32) time.Duration
}

// Pass begins a walk at an instant of CLOCK_MONOTONIC in nanoseconds, of which
// age tells how long ago a tick was.
func (r *Recorder) Pass(now uint64, age func(ticks uint32) time.Duration) *Pass {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passes++
	return &Pass{recorder: r, now: now, age: age}
}

// Live takes an entry that stays, and returns what there is to tell; nil:
// nothing.
func (p *Pass) Live(key bpf.WeirFlowKey, flow bpf.WeirFlow) *Flow {
	r := p.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	m := p.recall(key, flow)
	if m == nil {
		return nil // without a memory its end would be told again and again
	}
	m.seen = r.passes
	moved := p.account(m, flow)
	if end := p.end(flow); end != 0 && p.silent(flow) >= settle {
		if m.over {
			return nil
		}
		m.over = true
		return p.record(key, flow, m, Closed, end)
	}
	m.over = false
	if time.Duration(p.now-m.told) < r.options.Active || moved == m.toldMoved {
		return nil
	}
	return p.record(key, flow, m, Active, 0)
}

// Closed takes an entry that was deleted, and returns its last record; nil: it
// was told before.
func (p *Pass) Closed(key bpf.WeirFlowKey, flow bpf.WeirFlow) *Flow {
	r := p.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	m := p.recall(key, flow)
	if m == nil { // no room: remembered for as long as this takes
		m = &memory{start: p.start(flow)}
		p.adopt(key, flow, m)
	}
	p.account(m, flow)
	delete(r.flows, key)
	if m.over {
		return nil
	}
	end := p.end(flow)
	if end == 0 {
		end = EndExpired
		if name, _ := r.options.Enricher.options.Places.Interface(key.Ifindex); name == "" {
			end = EndRemoved
		}
	}
	return p.record(key, flow, m, Closed, end)
}

// End forgets flows that the walk did not meet: evicted from the spill, or
// deleted with the flows of an interface. Nothing is known of their end.
func (p *Pass) End() {
	r := p.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, m := range r.flows {
		// One that an event told of during this walk or the last may have
		// stood where the walk had been already.
		if r.passes-m.seen > 1 {
			delete(r.flows, key)
		}
	}
}

// recall finds what is remembered of an entry, or begins now.
func (p *Pass) recall(key bpf.WeirFlowKey, flow bpf.WeirFlow) *memory {
	r := p.recorder
	start := p.start(flow)
	m := r.flows[key]
	if m == nil || !m.is(flow.First, start) {
		if m = r.remember(key, start); m == nil {
			return nil
		}
		p.adopt(key, flow, m)
	}
	m.met, m.first = true, flow.First
	denied := flow.Verdict == uint8(bpf.WeirVerdictVERDICT_DENIED)
	if !denied && (m.rule != flow.Rule || m.set != flow.Set) {
		p.learn(key, flow, m) // the event of the change was lost, or is on its way
	}
	return m
}

// adopt takes up a flow of which no event has told.
func (p *Pass) adopt(key bpf.WeirFlowKey, flow bpf.WeirFlow, m *memory) {
	p.learn(key, flow, m)
	m.uncounted = m.start >= p.recorder.began
	if !m.uncounted { // what it carried before this run is not this run's
		m.moved, m.bytes = volume(flow)
	}
}

// learn binds the names of now.
func (p *Pass) learn(key bpf.WeirFlowKey, flow bpf.WeirFlow, m *memory) {
	service := m.rare.serviceOf()
	f := p.recorder.options.Enricher.entry(key, flow)
	f.Service = service
	m.learn(f, flow.Rule, flow.Set, remoteBegan(flow.Initiator))
}

func (p *Pass) start(flow bpf.WeirFlow) uint64 { return p.now - uint64(p.age(flow.First)) }

func (p *Pass) silent(flow bpf.WeirFlow) time.Duration {
	return min(p.age(flow.LastTx), p.age(flow.LastRx))
}

// end is why a flow has ended; 0: it may go on.
func (p *Pass) end(flow bpf.WeirFlow) EndReason {
	switch {
	case bpf.WeirVerdict(flow.Verdict) == bpf.WeirVerdictVERDICT_DENIED:
		return EndRevoked
	case (flow.TcpTx|flow.TcpRx)&tcpRST != 0:
		return EndRST
	case flow.TcpTx&flow.TcpRx&tcpFIN != 0:
		return EndFIN
	}
	return 0
}

const (
	tcpFIN = 1
	tcpRST = 4
)

func volume(flow bpf.WeirFlow) (packets, bytes uint64) {
	return flow.TxPackets + flow.RxPackets, flow.TxBytes + flow.RxBytes
}

// account tells the ledger what came since the last look.
func (p *Pass) account(m *memory, flow bpf.WeirFlow) (moved uint64) {
	packets, bytes := volume(flow)
	if l := p.recorder.options.Ledger; l != nil && m.decided != nil {
		l.Passed(*m.decided, m.uncounted, since(packets, m.moved), since(bytes, m.bytes))
	}
	m.uncounted = false
	m.moved, m.bytes = packets, bytes
	return packets
}

// since: counters may lose an increment when two CPUs write at once, and so go
// back.
func since(now, before uint64) uint64 { return max(now, before) - before }

func (p *Pass) record(key bpf.WeirFlowKey, flow bpf.WeirFlow, m *memory, kind Kind, end EndReason) *Flow {
	e := p.recorder.options.Enricher
	f := e.entry(key, flow)
	m.remind(f, remoteBegan(flow.Initiator))
	f.ID, f.Kind, f.Time = m.id, kind, e.wallTime(p.now)
	f.Totals.End, f.Totals.Start = end, e.wallTime(m.start)
	if m.wall != 0 { // the clocks may have been set apart since
		f.Totals.Start = time.Unix(0, m.wall).UTC()
	}
	f.Totals.Duration = max(0, p.age(flow.First)-p.silent(flow))
	m.told, m.toldMoved = p.now, m.moved
	return f
}
