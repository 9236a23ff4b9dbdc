// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// FlowRecord is an entry of the flow table.
type FlowRecord struct {
	Key  bpf.WeirFlowKey
	Flow bpf.WeirFlow
}

// Swept says what a pass did.
type Swept struct {
	Clock  Clock // by which it judged
	Live   int   // entries left in flows
	Spill  int   // entries left in flows_spill
	Closed int   // entries deleted
}

// sweepTotals are of the last pass, for Usage.
type sweepTotals struct {
	flows, spill, drops int
	spillEmpty          int // passes in a row that found flows_spill empty
}

// Limits after which the programs take an entry for absent, as in their own
// lookup, and how much longer the entry is left to them.
const (
	udpOnce     = 30 * time.Second
	udpAnswered = 180 * time.Second
	icmpIdle    = 30 * time.Second
	tcpClosed   = 120 * time.Second
	sweepGrace  = 5 * time.Second

	tcpFIN = 1
	tcpRST = 4
)

// Sweep deletes the flow entries that have expired, and those of unbound
// veths, gives each deleted one to closed, and gives the endpoints their room
// back. live, if not nil, gets every entry that stays.
//
// Entries of flows_spill that the kernel evicts are never seen here.
func (d *Datapath) Sweep(closed, live func(FlowRecord)) (Swept, error) {
	d.sweepMu.Lock()
	defer d.sweepMu.Unlock()
	clock, err := d.Clock()
	if err != nil {
		return Swept{}, err
	}
	pass, err := d.beginPass(clock, closed, live)
	if err != nil {
		return Swept{Clock: clock}, err
	}
	swept := Swept{Clock: clock}
	if swept.Live, err = pass.table(d.maps[bpf.WeirMapFlows], pass.deleted, pass.left); err != nil {
		return swept, err
	}
	if swept.Spill, err = pass.table(d.maps[bpf.WeirMapFlowsSpill], map[uint32]uint64{}, map[uint32]uint64{}); err != nil {
		return swept, err
	}
	swept.Closed = pass.closedCount
	drops, err := d.forgetDrops(pass.departed)
	if err != nil {
		return swept, err
	}
	return swept, d.endPass(pass, swept, drops)
}

// pass is one walk over the flow tables.
type pass struct {
	clock        Clock
	tcpIdle      time.Duration
	closed, live func(FlowRecord)
	departed     map[int]uint32
	bound        map[uint32]uint32 // ifindex -> slot
	usage        map[uint32]uint64 // slot -> entries ever made, before the walk
	deleted      map[uint32]uint64 // ifindex -> entries deleted
	left         map[uint32]uint64 // ifindex -> entries left
	before       callers           // of the last pass
	callers      callers           // of this one
	closedCount  int
}

func (d *Datapath) beginPass(clock Clock, closed, live func(FlowRecord)) (*pass, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &pass{
		clock: clock, tcpIdle: d.opts.TCPIdle, closed: closed, live: live, departed: maps.Clone(d.departed),
		bound: map[uint32]uint32{}, usage: map[uint32]uint64{}, deleted: map[uint32]uint64{}, left: map[uint32]uint64{},
		before: d.callers, callers: callers{},
	}
	for ifindex, b := range d.bindings {
		p.bound[uint32(ifindex)] = b.slot
	}
	for _, slot := range p.bound {
		used, err := d.usageOf(slot)
		if err != nil {
			return nil, err
		}
		p.usage[slot] = used
	}
	return p, nil
}

// table sweeps one map, and returns how many entries are left.
func (p *pass) table(m *ebpf.Map, deleted, left map[uint32]uint64) (int, error) {
	n := 0
	err := eachFlow(m, func(keys []bpf.WeirFlowKey, values []bpf.WeirFlow) error {
		for i := range keys {
			r := FlowRecord{keys[i], values[i]}
			if p.dead(r) {
				gone, err := p.remove(m, r)
				if err != nil {
					return err
				}
				if gone {
					deleted[r.Key.Ifindex]++
					continue
				}
			}
			n++
			p.callers.note(r)
			left[r.Key.Ifindex]++
			if p.live != nil {
				p.live(r)
			}
		}
		return nil
	})
	return n, err
}

func (p *pass) dead(r FlowRecord) bool {
	if _, ok := p.departed[int(r.Key.Ifindex)]; ok {
		return true
	}
	return expired(r, p.clock, p.tcpIdle) || p.before.orphaned(r, p.clock)
}

// remove deletes an entry unless it has moved on since it was looked at: a
// packet may come at any time.
func (p *pass) remove(m *ebpf.Map, r FlowRecord) (bool, error) {
	last, err := takeFlow(m, r.Key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil // evicted, of flows_spill
	}
	if err != nil {
		return false, fmt.Errorf("delete flow: %w", err)
	}
	r.Flow = last
	if !p.dead(r) {
		// Unless a program has made it anew by now, or another took its place.
		err := m.Update(r.Key, r.Flow, ebpf.UpdateNoExist)
		if err == nil || errors.Is(err, ebpf.ErrKeyExist) {
			return false, nil
		}
		if !noRoom(err) {
			return false, fmt.Errorf("put flow back: %w", err)
		}
	}
	p.closedCount++
	if p.closed != nil {
		p.closed(r)
	}
	return true, nil
}

// takeFlow looks up and deletes in one step where the kernel can (5.14 for
// hashes), else in two.
func takeFlow(m *ebpf.Map, key bpf.WeirFlowKey) (bpf.WeirFlow, error) {
	var flow bpf.WeirFlow
	err := m.LookupAndDelete(key, &flow)
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return flow, err
	}
	if err := m.Lookup(key, &flow); err != nil {
		return flow, err
	}
	return flow, m.Delete(key)
}

// eachFlow walks a map in batches where the kernel has them (5.6). Entries
// that f deletes do not disturb the walk: a batch ends at the end of a bucket.
func eachFlow(m *ebpf.Map, f func([]bpf.WeirFlowKey, []bpf.WeirFlow) error) error {
	keys := make([]bpf.WeirFlowKey, chunk)
	values := make([]bpf.WeirFlow, chunk)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return eachFlowSingly(m, f)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("walk %s: %w", m, err)
		}
		if err := f(keys[:n], values[:n]); err != nil {
			return err
		}
		if err != nil {
			return nil // that was the last batch
		}
	}
}

func eachFlowSingly(m *ebpf.Map, f func([]bpf.WeirFlowKey, []bpf.WeirFlow) error) error {
	var keys []bpf.WeirFlowKey
	var values []bpf.WeirFlow
	err := each(m, func(k bpf.WeirFlowKey, v bpf.WeirFlow) { keys, values = append(keys, k), append(values, v) })
	if err != nil && !errors.Is(err, ebpf.ErrIterationAborted) { // what was not reached is met by the next pass
		return fmt.Errorf("walk %s: %w", m, err)
	}
	return f(keys, values)
}

// expired follows the programs' own lookup (flow_expired in flowtable.h). Like
// there, the verdict makes a tombstone, not the flag.
func expired(r FlowRecord, c Clock, tcpIdle time.Duration) bool {
	idle := min(c.Age(r.Flow.LastTx), c.Age(r.Flow.LastRx))
	if v := bpf.WeirVerdict(r.Flow.Verdict); v != bpf.WeirVerdictVERDICT_ALLOWED && v != bpf.WeirVerdictVERDICT_AUDITED {
		return idle > tcpClosed+sweepGrace
	}
	answered := r.Flow.Flags&uint8(bpf.WeirFlowFlagFLOW_ANSWERED) != 0
	if policy.Protocol(r.Key.Protocol) == policy.TCP {
		switch {
		case tcpOver(r.Flow), !answered:
			return idle > tcpClosed+sweepGrace
		}
		return idle > tcpIdle
	}
	// Counted from the initiator: what the other end sends opens nothing.
	asked := c.Age(r.Flow.LastTx)
	if bpf.WeirSide(r.Flow.Initiator) == bpf.WeirSideSIDE_REMOTE {
		asked = c.Age(r.Flow.LastRx)
	}
	limit := udpOnce
	switch protocol := policy.Protocol(r.Key.Protocol); {
	case protocol == policy.ICMP || protocol == policy.ICMPv6:
		limit = icmpIdle
	case answered:
		limit = udpAnswered
	}
	return asked > limit+sweepGrace
}

func tcpOver(f bpf.WeirFlow) bool {
	return (f.TcpTx|f.TcpRx)&tcpRST != 0 || f.TcpTx&f.TcpRx&tcpFIN != 0
}
