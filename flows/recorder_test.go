// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// table drives a Recorder as an agent does: ticks of 4 ms, a clock of its own,
// and names that a test may change.
type table struct {
	*names
	t        *testing.T
	recorder *Recorder
	now      uint64        // CLOCK_MONOTONIC
	drift    time.Duration // of the ticks from the clock
	pods     map[uint32]*policy.Pod
	owners   map[string]Owner
}

const tick = 4 * time.Millisecond

func newTable(t *testing.T, change ...func(*RecorderOptions)) *table {
	t.Helper()
	w := &table{names: &names{wall: noon, mono: uint64(time.Hour)}, t: t, now: uint64(time.Hour), pods: map[uint32]*policy.Pod{42: web}}
	w.owners = map[string]Owner{"10.2.0.6": {Identity: PodIdentity, Pod: db}}
	nearest := func(policy.Flow) *Miss { return missed }
	e, err := NewEnricher(EnricherOptions{Places: w, Rules: w.names, Clock: w.names.clock, Nearest: nearest})
	if err != nil {
		t.Fatal(err)
	}
	o := RecorderOptions{Enricher: e, FirstID: 1000}
	for _, c := range change {
		c(&o)
	}
	w.recorder = NewRecorder(o)
	return w
}

func (w *table) Interface(i uint32) (string, *policy.Pod) {
	if pod := w.pods[i]; pod != nil {
		return fmt.Sprint("veth", i), pod
	}
	return "", nil
}

func (w *table) Owner(a netip.Addr) Owner { return w.owners[a.String()] }

func (w *table) pass(d time.Duration) *Pass {
	w.now += uint64(d)
	return w.recorder.Pass(w.now, func(ticks uint32) time.Duration {
		return time.Duration(w.now) - time.Duration(ticks)*tick + w.drift
	})
}

func (w *table) ticks() uint32 { return uint32(w.now / uint64(tick)) }

// begin is the event of web's flow to db's port 443, allowed by a rule.
func (w *table) begin(change ...change) *Flow {
	w.t.Helper()
	ev := event(func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule, e.Time = 1, 1, 8, w.now })
	for _, c := range change {
		c(ev)
	}
	return w.recorder.Event(ev)
}

// entry of that flow in the table, begun now.
func (w *table) entry(change ...func(*bpf.WeirFlow)) (bpf.WeirFlowKey, *bpf.WeirFlow) {
	key := keyOf(event())
	flow := &bpf.WeirFlow{
		First: w.ticks(), LastTx: w.ticks(), LastRx: w.ticks(), Set: 7, Rule: 8, Verdict: 1, Reason: 1,
		TxPackets: 3, TxBytes: 300, RxPackets: 2, RxBytes: 2000, TcpTx: 0x12, TcpRx: 0x10,
	}
	for _, c := range change {
		c(flow)
	}
	return key, flow
}

// text says what a record tells, in one line.
func text(f *Flow) string {
	if f == nil {
		return "nothing"
	}
	kinds := map[Kind]string{New: "new", Revoked: "revoked", Changed: "changed", Closed: "closed", Active: "active"}
	ends := [...]string{"", "fin", "rst", "expired", "revoked", "removed"}
	name := func(p Peer) string {
		if key, ok := p.Object(); ok {
			return fmt.Sprintf("%s:%d", key.Name, p.Port)
		}
		return fmt.Sprintf("%s:%d", p.Addr, p.Port)
	}
	s := fmt.Sprintf("%d %s %s %s>%s", f.ID, kinds[f.Kind], bpf.VerdictName(f.Verdict), name(f.Source), name(f.Destination))
	if f.Rule != nil {
		s += " by " + f.Rule.Policy.Name
	}
	if f.Service != nil {
		s += " via " + name(*f.Service)
	}
	if f.Isolating != nil {
		s += " closed by " + f.Isolating[0].Name
	}
	if t := f.Totals; t != nil {
		s += fmt.Sprintf(" %s +%d/%d -%d/%d flags %x/%x", t.Duration, t.Sent.Packets, t.Sent.Bytes, t.Answered.Packets, t.Answered.Bytes, t.Sent.TCPFlags, t.Answered.TCPFlags)
		if t.End != 0 {
			s += " " + ends[t.End]
		}
	}
	return s
}

func (w *table) want(what string, f *Flow, want string) {
	w.t.Helper()
	if got := text(f); got != want {
		w.t.Errorf("%s: %s\nwant %s", what, got, want)
	}
}

func TestLifeOfAFlow(t *testing.T) {
	w := newTable(t)
	w.want("event", w.begin(), "1001 new allowed web:40000>db:443 by allow-app")
	key, flow := w.entry()
	w.want("first pass", w.pass(5*time.Second).Live(key, *flow), "nothing")
	flow.LastTx += uint32(20 * time.Second / tick)
	flow.TxPackets = 9
	w.want("half a minute", w.pass(25*time.Second).Live(key, *flow), "1001 active allowed web:40000>db:443 by allow-app 20s +9/300 -2/2000 flags 12/10")
	w.want("told a moment ago", w.pass(5*time.Second).Live(key, *flow), "nothing")
	w.want("silent since", w.pass(60*time.Second).Live(key, *flow), "nothing")
	flow.LastTx, flow.LastRx = w.ticks(), w.ticks()
	flow.TcpTx, flow.TcpRx = 0x13, 0x11
	flow.TxPackets = 10
	w.want("closed just now: the last packets may be on their way", w.pass(time.Second).Live(key, *flow), "1001 active allowed web:40000>db:443 by allow-app 1m35s +10/300 -2/2000 flags 13/11")
	w.want("closed", w.pass(5*time.Second).Live(key, *flow), "1001 closed allowed web:40000>db:443 by allow-app 1m35s +10/300 -2/2000 flags 13/11 fin")
	w.want("told once", w.pass(5*time.Second).Live(key, *flow), "nothing")
	w.want("deleted after it was told", w.pass(115*time.Second).Closed(key, *flow), "nothing")
	if n, _, _ := w.recorder.Remembered(); n != 0 {
		t.Errorf("%d flows are remembered for ever", n)
	}
}

func TestEndsOfAFlow(t *testing.T) {
	const told = "1001 closed %s web:40000>db:443%s 0s +3/300 -2/2000 flags %s %s"
	for _, row := range []struct {
		name   string
		change func(*bpf.WeirFlow)
		gone   bool // the interface
		want   string
	}{
		{"expired", func(*bpf.WeirFlow) {}, false, fmt.Sprintf(told, "allowed", " by allow-app", "12/10", "expired")},
		{"one FIN is not the end", func(f *bpf.WeirFlow) { f.TcpTx = 1 }, false, fmt.Sprintf(told, "allowed", " by allow-app", "1/10", "expired")},
		{"both FIN", func(f *bpf.WeirFlow) { f.TcpTx, f.TcpRx = 1, 1 }, false, fmt.Sprintf(told, "allowed", " by allow-app", "1/1", "fin")},
		{"RST of one", func(f *bpf.WeirFlow) { f.TcpRx = 4 }, false, fmt.Sprintf(told, "allowed", " by allow-app", "12/4", "rst")},
		{"RST after FIN", func(f *bpf.WeirFlow) { f.TcpTx, f.TcpRx = 1, 5 }, false, fmt.Sprintf(told, "allowed", " by allow-app", "1/5", "rst")},
		{"removed", func(*bpf.WeirFlow) {}, true, fmt.Sprintf(told, "allowed", " by allow-app", "12/10", "removed")},
		{"FIN, then removed", func(f *bpf.WeirFlow) { f.TcpTx, f.TcpRx = 1, 1 }, true, fmt.Sprintf(told, "allowed", " by allow-app", "1/1", "fin")},
		{"cut", func(f *bpf.WeirFlow) { f.Verdict, f.Reason, f.Rule = 0, 41, 0 }, false, fmt.Sprintf(told, "denied", " closed by default-deny", "12/10", "revoked")},
	} {
		w := newTable(t)
		w.begin()
		key, flow := w.entry(row.change)
		if row.gone {
			w.pods, w.owners = nil, nil
		}
		w.want(row.name, w.pass(200*time.Second).Closed(key, *flow), row.want)
	}
}

// Names are those of the time when the flow began, whoever has the interface
// and the address when its end is told.
func TestNamesOutliveThePods(t *testing.T) {
	other := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "other"}}
	for _, row := range []struct {
		name string
		told bool // by an event; else a pass met it first
	}{{"told by an event", true}, {"met by a pass", false}} {
		w := newTable(t)
		key, flow := w.entry()
		if row.told {
			w.begin()
		}
		w.pass(time.Second).Live(key, *flow)
		w.pods, w.owners = map[uint32]*policy.Pod{42: other}, map[string]Owner{"10.2.0.6": {Identity: PodIdentity, Pod: other}}
		f := w.pass(time.Minute).Closed(key, *flow)
		w.want(row.name, f, "1001 closed allowed web:40000>db:443 by allow-app 0s +3/300 -2/2000 flags 12/10 expired")
		if f.Interface != "veth42" {
			t.Errorf("%s: interface %q", row.name, f.Interface)
		}
	}
}

func TestRecordOfATranslatedFlowNamesTheService(t *testing.T) {
	w := newTable(t)
	w.owners["10.96.0.1"] = Owner{Identity: ServiceIdentity, Service: dns}
	w.begin(func(e *bpf.WeirEvent) { e.Service, e.ServicePort = raw("10.96.0.1"), fromNetwork(53) })
	key, flow := w.entry()
	w.pass(5*time.Second).Live(key, *flow)
	delete(w.owners, "10.96.0.1")
	// A policy change that was lost on the way gives it another rule.
	flow.Rule = 0
	w.want("closed", w.pass(200*time.Second).Closed(key, *flow), "1001 closed allowed web:40000>db:443 via dns:53 0s +3/300 -2/2000 flags 12/10 expired")
}

func TestIngressIsToldFromTheBeginner(t *testing.T) {
	w := newTable(t)
	w.begin(func(e *bpf.WeirEvent) { e.Initiator, e.Direction = 1, 0 })
	key, flow := w.entry(func(f *bpf.WeirFlow) { f.Initiator = 1 })
	f := w.pass(time.Minute).Closed(key, *flow)
	w.want("ingress", f, "1001 closed allowed db:443>web:40000 by allow-app 0s +2/2000 -3/300 flags 10/12 expired")
	if f.Direction != policy.Ingress {
		t.Errorf("direction %s", f.Direction)
	}
}

func TestIDs(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(*table) *Flow
		id   uint64
	}{
		{"the event", func(w *table) *Flow { return w.begin() }, 1001},
		{"a denial makes no flow", func(w *table) *Flow { return w.begin(func(e *bpf.WeirEvent) { e.Verdict, e.Rule = 0, 0 }) }, 0},
		{"an event of a change", func(w *table) *Flow { w.begin(); return w.begin(func(e *bpf.WeirEvent) { e.Kind = 3 }) }, 1001},
		{"an event of a cut", func(w *table) *Flow { w.begin(); return w.begin(func(e *bpf.WeirEvent) { e.Kind, e.Verdict = 2, 0 }) }, 1001},
		{"an event that is read after the pass", func(w *table) *Flow {
			key, flow := w.entry()
			w.pass(0).Live(key, *flow)
			return w.begin()
		}, 1001},
		{"the tuple again", func(w *table) *Flow { w.begin(); w.now += uint64(time.Second); return w.begin() }, 1002},
		{"the tuple again, without an event", func(w *table) *Flow {
			w.begin()
			key, flow := w.entry()
			w.pass(5*time.Second).Live(key, *flow)
			flow.First, flow.LastTx = w.ticks(), w.ticks()
			return w.pass(time.Minute).Closed(key, *flow)
		}, 1002},
		{"the tick of the entry is a little late", func(w *table) *Flow {
			w.begin()
			key, flow := w.entry()
			flow.First += 3
			return w.pass(time.Minute).Closed(key, *flow)
		}, 1001},
		{"ticks that drift from the clock", func(w *table) *Flow {
			w.begin()
			key, flow := w.entry()
			w.pass(0).Live(key, *flow)
			w.drift = time.Second
			return w.pass(time.Minute).Closed(key, *flow)
		}, 1001},
	} {
		if f := row.do(newTable(t)); f == nil || f.ID != row.id {
			t.Errorf("%s: %s, want id %d", row.name, text(f), row.id)
		}
	}
}

func TestWhatNoPassMeetsIsForgotten(t *testing.T) {
	w := newTable(t)
	w.begin() // of a kind that makes no entry, or evicted
	for i, want := range []int{1, 0} {
		w.pass(5 * time.Second).End()
		if n, _, _ := w.recorder.Remembered(); n != want {
			t.Errorf("after pass %d: %d are remembered, want %d", i+1, n, want)
		}
	}
	w.begin()
	for range 5 {
		p := w.pass(5 * time.Second)
		p.Live(w.entry2())
		p.End()
	}
	if n, _, _ := w.recorder.Remembered(); n != 1 {
		t.Errorf("%d are remembered of one that lives", n)
	}
}

func (w *table) entry2() (bpf.WeirFlowKey, bpf.WeirFlow) {
	key, flow := w.entry()
	return key, *flow
}

// Beyond the bound a flow is still told at its end, with the names of then.
func TestMemoryIsBounded(t *testing.T) {
	w := newTable(t, func(o *RecorderOptions) { o.Memory = 1 })
	w.begin(func(e *bpf.WeirEvent) { e.LocalPort++ })
	if f := w.begin(); f.ID != 0 {
		t.Errorf("id %d without a memory", f.ID)
	}
	key, flow := w.entry(func(f *bpf.WeirFlow) { f.TcpTx, f.TcpRx = 1, 1 })
	w.want("live", w.pass(time.Minute).Live(key, *flow), "nothing")
	w.want("closed", w.pass(time.Minute).Closed(key, *flow), "0 closed allowed web:40000>db:443 by allow-app 0s +3/300 -2/2000 flags 1/1 fin")
	if n, capacity, overflow := w.recorder.Remembered(); n != 1 || capacity != 1 || overflow != 3 {
		t.Errorf("%d of %d remembered, %d not", n, capacity, overflow)
	}
}

func TestTimesOfARecord(t *testing.T) {
	w := newTable(t)
	began := noon.Add(123456 * time.Nanosecond)
	w.now += 123456
	w.begin()
	key, flow := w.entry()
	flow.LastRx = flow.First + uint32(1500*time.Millisecond/tick)
	f := w.pass(10*time.Second).Closed(key, *flow)
	if !f.Totals.Start.Equal(began) {
		t.Errorf("began %s, want %s as the event says, to the nanosecond", f.Totals.Start, began)
	}
	if f.Totals.Duration != 1500*time.Millisecond {
		t.Errorf("lasted %s", f.Totals.Duration)
	}
	if want := began.Add(10 * time.Second); !f.Time.Equal(want) {
		t.Errorf("told at %s, want %s", f.Time, want)
	}
}

func TestLedger(t *testing.T) {
	a := NewAccounts()
	w := newTable(t, func(o *RecorderOptions) { o.Ledger = a })
	old, oldFlow := w.entry(func(f *bpf.WeirFlow) { f.First -= 1000 }) // from before this run
	old.LocalPort++
	w.pass(0).Live(old, *oldFlow)
	w.begin()
	key, flow := w.entry()
	for range 3 { // counted once
		w.pass(5*time.Second).Live(key, *flow)
	}
	flow.TxPackets, flow.TxBytes = 13, 1300
	oldFlow.RxPackets, oldFlow.RxBytes = 3, 2500
	p := w.pass(5 * time.Second)
	p.Closed(key, *flow)
	p.Live(old, *oldFlow)
	w.begin(func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule, e.Repeats = 0, 32, 0, 9 })
	rules, denials := a.Counts()
	if got, want := rules[*allow], (RuleAccount{Flows: 1, Packets: 5 + 10 + 1, Bytes: 2300 + 1000 + 500}); got != want {
		t.Errorf("rule %+v, want %+v", got, want)
	}
	if got := denials[closing[0]]; got != 10 {
		t.Errorf("%d denials, want 10", got)
	}
	a.Retain(func(policy.RuleRef) bool { return false }, func(policy.ObjectKey) bool { return false })
	if rules, denials := a.Counts(); len(rules)+len(denials) != 0 {
		t.Errorf("a policy that is gone is still counted: %v %v", rules, denials)
	}
}

// TestMemoryOfLiveFlows prints what it takes to remember 65,536 live flows.
func TestMemoryOfLiveFlows(t *testing.T) {
	const flows, limit = 1 << 16, 400
	w := newTable(t)
	before := heap()
	for i := range flows {
		w.begin(func(e *bpf.WeirEvent) { e.LocalPort, e.Ifindex = uint16(i), 42 })
	}
	each := float64(heap()-before) / flows
	runtime.KeepAlive(w.recorder)
	if n, _, _ := w.recorder.Remembered(); n != flows {
		t.Fatalf("%d flows", n)
	}
	t.Logf("figure: memory of live flows | %.0f bytes for each, %.1f MiB for %d", each, each*flows/(1<<20), flows)
	if each > limit {
		t.Errorf("%.0f bytes, more than %d", each, limit)
	}
}

// TestMemoryOfTheStore prints what a full store takes, with everything that a
// record can have: names, a Service, a rule that missed, totals.
func TestMemoryOfTheStore(t *testing.T) {
	const limit = 640
	w := newTable(t)
	w.owners["10.96.0.1"] = Owner{Identity: ServiceIdentity, Service: dns}
	fill := func(s *Store, one func(i int) *Flow) float64 {
		before := heap()
		for i := range DefaultCapacity {
			s.Add(one(i))
		}
		used := float64(heap()-before) / DefaultCapacity
		runtime.KeepAlive(s)
		return used
	}
	denials := fill(newStore(t, DefaultCapacity), func(i int) *Flow {
		return w.begin(func(e *bpf.WeirEvent) { e.Verdict, e.Reason, e.Rule, e.LocalPort = 0, 32, 0, uint16(i) })
	})
	key, flow := w.entry()
	pass := w.pass(time.Minute)
	closed := fill(newStore(t, DefaultCapacity), func(i int) *Flow {
		w.begin(func(e *bpf.WeirEvent) {
			e.LocalPort, e.Service, e.ServicePort = uint16(i), raw("10.96.0.1"), fromNetwork(53)
		})
		key.LocalPort = uint16(i)
		return pass.Closed(key, *flow)
	})
	// The ring itself is there before either.
	t.Logf("a record alone: %d bytes", unsafe.Sizeof(Flow{}))
	t.Logf("figure: memory of the store | of %d records: a denial %.0f bytes, a closed flow %.0f", DefaultCapacity, denials+8, closed+8)
	if denials > limit || closed > limit {
		t.Errorf("more than %d", limit)
	}
}
