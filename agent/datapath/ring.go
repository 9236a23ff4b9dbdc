// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weirnet/weir/bpf"
)

// Events reads both rings until ctx ends, and gives each event to f, one at a
// time. The programs wake nobody for a single event: the rings are looked into
// every Options.Poll, and at once when one is half full. f must be quick:
// while it works the rings fill, and what finds no room is lost and counted
// (Lost). Events of the self test are left out.
func (d *Datapath) Events(ctx context.Context, f func(bpf.WeirEvent)) error {
	readers, err := d.openRings()
	if err != nil {
		return errors.Join(err, d.closeRings())
	}
	var one sync.Mutex
	var wait sync.WaitGroup
	errs := make([]error, len(readers))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, r := range readers {
		wait.Go(func() {
			defer cancel() // one that fails ends the other
			errs[i] = drain(ctx, r, d.opts.Poll, func(e bpf.WeirEvent) {
				one.Lock()
				defer one.Unlock()
				f(e)
			})
		})
	}
	wait.Wait()
	return errors.Join(errors.Join(errs...), d.closeRings())
}

func (d *Datapath) openRings() (readers [bpf.WeirRingRING_COUNT]*ringbuf.Reader, err error) {
	d.ringMu.Lock()
	defer d.ringMu.Unlock()
	for i, name := range []string{bpf.WeirMapEventsAllowed, bpf.WeirMapEventsDenied} {
		if d.readers[i], err = ringbuf.NewReader(d.maps[name]); err != nil {
			return readers, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return d.readers, nil
}

func (d *Datapath) closeRings() error {
	d.ringMu.Lock()
	defer d.ringMu.Unlock()
	var errs []error
	for i, r := range d.readers {
		if r != nil {
			errs = append(errs, r.Close())
		}
		d.readers[i] = nil
	}
	return errors.Join(errs...)
}

// drain returns within one poll of the end of ctx.
func drain(ctx context.Context, r *ringbuf.Reader, poll time.Duration, f func(bpf.WeirEvent)) error {
	var record ringbuf.Record
	r.SetDeadline(time.Now().Add(poll))
	for ctx.Err() == nil {
		err := r.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.SetDeadline(time.Now().Add(poll))
			continue
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		var event bpf.WeirEvent
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &event); err != nil {
			return fmt.Errorf("decode an event of %d bytes: %w", len(record.RawSample), err)
		}
		if event.Ifindex != loopback {
			f(event)
		}
	}
	return nil
}

// RingUse is how full a ring is. The zero RingUse: nobody reads it.
type RingUse struct {
	Waiting, Size uint64 // bytes
	// Sample: one in so many events of the ring is told. While the ring of
	// allowed flows is half full or more, it is above 1; denials are not sampled.
	Sample uint32
}

// Fill is how much of the ring waits to be read, from 0 to 1. From half on,
// allowed flows are told one in so many; from three quarters on, denials that
// were told before are not told again.
func (u RingUse) Fill() float64 {
	if u.Size == 0 {
		return 0
	}
	return float64(u.Waiting) / float64(u.Size)
}

// RingUse gives by bpf.WeirRing how much of each ring waits to be read.
func (d *Datapath) RingUse() [bpf.WeirRingRING_COUNT]RingUse {
	d.ringMu.Lock()
	defer d.ringMu.Unlock()
	var use [bpf.WeirRingRING_COUNT]RingUse
	for ring, r := range d.readers {
		if r == nil {
			continue
		}
		use[ring] = RingUse{Waiting: uint64(r.AvailableBytes()), Size: uint64(r.BufferSize()), Sample: 1}
		if bpf.WeirRing(ring) == bpf.WeirRingRING_ALLOWED {
			use[ring].Sample = sampleAt(use[ring])
		}
	}
	return use
}

// sampleAt is what the programs do at this fill (sample_at in bpf/src/limits.h).
func sampleAt(u RingUse) uint32 {
	switch eighths := 8 * u.Waiting / u.Size; {
	case eighths < 4:
		return 1
	case eighths > 7:
		return 16
	default:
		return 2 << (eighths - 4)
	}
}

// RingTotals of one ring, since its map was made. Their sum is how many events
// the packets called for; each stands in one of them.
type RingTotals struct {
	Emitted    uint64
	Lost       uint64 // the ring was full
	Limited    uint64 // the endpoint had told as many as one may in this time
	Thinned    uint64 // the ring was filling: allowed flows, and repeated denials
	Suppressed uint64 // denials of a tuple that was told within the last second
}

// Lost gives the totals by bpf.WeirRing. The events of self tests of this run,
// which nobody is told, are taken off what was emitted; the few that came while
// a ring was more than half full stand in the other totals.
func (d *Datapath) Lost() ([bpf.WeirRingRING_COUNT]RingTotals, error) {
	d.eventMu.Lock()
	defer d.eventMu.Unlock()
	var totals [bpf.WeirRingRING_COUNT]RingTotals
	for ring := range totals {
		var perCPU []bpf.WeirRingStats
		if err := lookupCPUs(d.maps[bpf.WeirMapRings], uint32(ring), &perCPU); err != nil {
			return totals, fmt.Errorf("read ring totals: %w", err)
		}
		for _, c := range perCPU {
			totals[ring].Emitted += c.Emitted
			totals[ring].Lost += c.Lost
			totals[ring].Limited += c.Limited
			totals[ring].Thinned += c.Thinned
			totals[ring].Suppressed += c.Suppressed
		}
		totals[ring].Emitted -= min(d.ownEvents[ring], totals[ring].Emitted)
	}
	return totals, nil
}

func lookupCPUs[V any](m *ebpf.Map, key any, into *[]V) error { return m.Lookup(key, into) }
