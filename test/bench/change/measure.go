// SPDX-License-Identifier: Apache-2.0

package change

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirnet/weir/test/bench/record"
)

const (
	openingPause  = 100 * time.Microsecond // between packets while the way opens
	shuttingPause = 200 * time.Microsecond // while it is shut
	patience      = 10 * time.Second
	// The way is shut when nothing has arrived for quiet, of at least
	// quietPackets: a sender that the machine stopped proves nothing.
	quiet        = 50 * time.Millisecond
	quietPackets = 100
	// apart is how long a way is used before it changes again. The agent drops
	// what a change left behind some 20 ms later (agent/collection.go), and
	// the next change would wait for that.
	apart = 150 * time.Millisecond
)

// Measure takes all rounds, and tells what a reader of the results has to know.
// When ctx ends it stops soon, and removes what it made. A packet that arrives
// when the way is known to be shut is an error.
func Measure(ctx context.Context, o Options) (results []record.Change, notes []string, err error) {
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("options of the benchmark: %w", err)
	}
	s, err := newStage(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	work := newBareWork()
	stolen, err := stolenTime()
	if err != nil {
		return nil, nil, err
	}
	b, err := startBystander()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r := &run{stage: s, work: work, begun: now()}
	for i := range o.Rounds {
		if err := r.round(ctx); err != nil {
			return nil, nil, fmt.Errorf("round %d of %d: %w", i+1, o.Rounds, err)
		}
	}
	r.ended = now()
	saw, err := b.testify()
	if err != nil {
		return nil, nil, err
	}
	results = r.results(o, saw)
	for _, result := range results {
		if o.Told != nil {
			o.Told(result)
		}
	}
	after, err := stolenTime()
	return results, r.notes(saw, after-stolen), err
}

// run is what the rounds have given so far.
type run struct {
	stage                     *stage
	work                      *bareWork
	begun, ended              time.Duration
	opening, shutting, worked []span
	appliedOpen, appliedShut  []time.Duration
	kept                      int // packets that a shut way kept
}

// round begins and ends with the way shut.
func (r *run) round(ctx context.Context) error {
	r.worked = append(r.worked, r.work.do())
	if err := r.hold(ctx); err != nil {
		return err
	}
	opening, err := r.open(ctx)
	if err != nil {
		return err
	}
	appliedOpen, err := r.stage.lastApply(ctx)
	if err != nil {
		return err
	}
	if err := r.pass(ctx); err != nil {
		return err
	}
	shutting, err := r.shut(ctx)
	if err != nil {
		return err
	}
	appliedShut, err := r.stage.lastApply(ctx)
	if err != nil {
		return err
	}
	r.opening, r.shutting = append(r.opening, opening), append(r.shutting, shutting)
	r.appliedOpen, r.appliedShut = append(r.appliedOpen, appliedOpen), append(r.appliedShut, appliedShut)
	return nil
}

// beat sends a packet, and listens for a while.
func (r *run) beat(ctx context.Context, pause time.Duration) (heard, error) {
	if err := ctx.Err(); err != nil {
		return heard{}, err
	}
	if _, err := r.stage.sender.Write([]byte("x")); err != nil {
		return heard{}, fmt.Errorf("send: %w", err)
	}
	return r.stage.receiver.listen(pause), nil
}

// hold fails if a packet passes that must not. It hears those, too, that came
// since the way was found shut.
func (r *run) hold(ctx context.Context) error {
	for begun := now(); now()-begun < apart; {
		h, err := r.beat(ctx, shuttingPause)
		if err != nil {
			return err
		}
		if h.count > 0 {
			return fmt.Errorf("%d packets arrived by a way that had been shut: the policy does not hold", h.count)
		}
		r.kept++
	}
	return nil
}

// open the way, and send until a packet arrives.
func (r *run) open(ctx context.Context) (span, error) {
	begun, err := r.stage.turn(true)
	if err != nil {
		return span{}, err
	}
	for now()-begun < patience {
		h, err := r.beat(ctx, openingPause)
		if err != nil {
			return span{}, err
		}
		if h.count > 0 {
			return span{begun, h.first}, nil
		}
	}
	return span{}, fmt.Errorf("no packet arrived within %v of the policy that allows it: see the agent's log", patience)
}

// pass uses the way that was opened, by which packets have to arrive.
func (r *run) pass(ctx context.Context) error {
	arrived := 0
	for begun := now(); now()-begun < patience; {
		h, err := r.beat(ctx, shuttingPause)
		if err != nil {
			return err
		}
		if arrived += h.count; arrived > 0 && now()-begun >= apart {
			return nil
		}
	}
	return fmt.Errorf("no packet arrived within %v by a way that had been opened", patience)
}

// shut the way, and send until nothing arrives any more. The span ends with the
// last arrival, or where it begins if there was none.
func (r *run) shut(ctx context.Context) (span, error) {
	begun, err := r.stage.turn(false)
	if err != nil {
		return span{}, err
	}
	last, unanswered := begun, 0
	for now()-begun < patience {
		h, err := r.beat(ctx, shuttingPause)
		if err != nil {
			return span{}, err
		}
		unanswered++
		if h.count > 0 {
			last, unanswered = max(begun, h.last), 0
		}
		if now()-last > quiet && unanswered >= quietPackets {
			r.kept += unanswered
			return span{begun, last}, nil
		}
	}
	return span{}, fmt.Errorf("packets still arrive %v after the policy that forbids them: see the agent's log", patience)
}
