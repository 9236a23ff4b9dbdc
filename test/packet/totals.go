// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weirnet/weir/bpf"
)

// Counter is a cell of the map counters.
type Counter struct {
	Direction bpf.WeirDirection
	Reason    bpf.WeirReason
}

// Amount is packets and bytes, summed over the CPUs.
type Amount struct{ Packets, Bytes uint64 }

// totals is what the programs only ever add to.
type totals struct {
	counters map[Counter]Amount
	drops    map[bpf.WeirDropKey]Amount
	rings    [2]bpf.WeirRingStats
}

func (m *Machine) totals() (totals, error) {
	t := totals{counters: map[Counter]Amount{}, drops: map[bpf.WeirDropKey]Amount{}}
	for cell := range uint32(2 * bpf.WeirReasonREASON_COUNT) {
		amount, err := perCPU(m.objects.Counters, cell)
		if err != nil {
			return t, err
		}
		reason := bpf.WeirReason(cell) % bpf.WeirReasonREASON_COUNT
		direction := bpf.WeirDirection(cell / uint32(bpf.WeirReasonREASON_COUNT))
		t.counters[Counter{direction, reason}] = amount
	}
	if err := m.readDrops(t.drops); err != nil {
		return t, err
	}
	for ring := range t.rings {
		var cpus []bpf.WeirRingStats
		if err := m.objects.Rings.Lookup(uint32(ring), &cpus); err != nil {
			return t, fmt.Errorf("read %s: %w", m.objects.Rings, err)
		}
		for _, cpu := range cpus {
			t.rings[ring].Emitted += cpu.Emitted
			t.rings[ring].Lost += cpu.Lost
			t.rings[ring].Limited += cpu.Limited
			t.rings[ring].Thinned += cpu.Thinned
			t.rings[ring].Suppressed += cpu.Suppressed
		}
	}
	return t, nil
}

func (m *Machine) readDrops(into map[bpf.WeirDropKey]Amount) error {
	var key bpf.WeirDropKey
	var cpus []bpf.WeirTraffic
	each := m.objects.Drops.Iterate()
	for each.Next(&key, &cpus) {
		into[key] = sum(cpus)
	}
	if err := each.Err(); err != nil {
		return fmt.Errorf("read %s: %w", m.objects.Drops, err)
	}
	return nil
}

func perCPU(table *ebpf.Map, key uint32) (Amount, error) {
	var cpus []bpf.WeirTraffic
	if err := table.Lookup(key, &cpus); err != nil {
		return Amount{}, fmt.Errorf("read %s: %w", table, err)
	}
	return sum(cpus), nil
}

func sum(cpus []bpf.WeirTraffic) Amount {
	var a Amount
	for _, cpu := range cpus {
		a.Packets += cpu.Packets
		a.Bytes += cpu.Bytes
	}
	return a
}

// grown is what was added between two readings.
func grown[K comparable](before, after map[K]Amount) map[K]Amount {
	out := map[K]Amount{}
	for key, now := range after {
		was := before[key]
		if now != was {
			out[key] = Amount{now.Packets - was.Packets, now.Bytes - was.Bytes}
		}
	}
	return out
}

// drain reads a ring until it is empty. A deadline in the past makes the
// reader look without waiting: the programs wake nobody up.
func (m *Machine) drain(ring bpf.WeirRing) ([]bpf.WeirEvent, error) {
	reader := m.rings[ring]
	reader.SetDeadline(time.Unix(1, 0))
	var events []bpf.WeirEvent
	for {
		record, err := reader.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return events, nil
		}
		if err != nil {
			return events, fmt.Errorf("read ring %d: %w", ring, err)
		}
		event, err := decode(record)
		if err != nil {
			return events, fmt.Errorf("read ring %d: %w", ring, err)
		}
		events = append(events, event)
	}
}

func decode(record ringbuf.Record) (bpf.WeirEvent, error) {
	var e bpf.WeirEvent
	if size := binary.Size(e); len(record.RawSample) != size {
		return e, fmt.Errorf("an event of %d bytes, not %d", len(record.RawSample), size)
	}
	_, err := binary.Decode(record.RawSample, binary.NativeEndian, &e)
	return e, err
}
