// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/record"
)

// programNames by policy.Direction.
var programNames = [2]string{policy.Ingress: "to_pod", policy.Egress: "from_pod"}

// Names, in results, of the programs that do nothing but the kernel's operations
// which a case cannot do without: without policy, and with its lookups.
const (
	Floor      = "floor"
	RuledFloor = "floor with policy"
)

// Measure takes all cases of o, a stage after the other. When ctx ends it stops
// behind the case under way, and removes what it made.
func Measure(ctx context.Context, o Options) ([]record.Packet, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the benchmark: %w", err)
	}
	t := table{costs: map[cell][]float64{}}
	for range o.Passes {
		for _, rows := range o.Rows {
			for _, name := range o.Families {
				if err := measureStage(ctx, o, name, rows, &t); err != nil {
					return t.results(), fmt.Errorf("%s, %d rows: %w", name, rows, err)
				}
			}
		}
	}
	return t.results(), nil
}

// cell is what one number is about.
type cell struct {
	program, name, family string
	rows                  int
}

// table has the ns over empty of each round.
type table struct {
	order []cell
	costs map[cell][]float64
}

func (t *table) add(c cell, costs []float64) {
	if len(t.costs[c]) == 0 {
		t.order = append(t.order, c)
	}
	t.costs[c] = append(t.costs[c], costs...)
}

func (t *table) results() []record.Packet {
	var all []record.Packet
	for _, c := range t.order {
		all = append(all, c.result(t.costs[c]))
	}
	return all
}

func (c cell) result(costs []float64) record.Packet {
	return record.Packet{Program: c.program, Case: c.name, Family: c.family, Rows: c.rows, NsOverEmpty: record.Median(costs), Rounds: len(costs)}
}

func measureStage(ctx context.Context, o Options, family string, rows int, into *table) (err error) {
	s, err := newStage(o, families()[family], rows)
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	for _, step := range s.steps(o) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if step.prepare != nil {
			if err := step.prepare(); err != nil {
				return err
			}
		}
		loads, err := step.loads()
		if err != nil {
			return err
		}
		turns := append(loads[:], s.lowest(step.name, loads)...)
		if step.name == EstablishedOne {
			turns = append(turns, s.forwarded(loads))
		}
		costs, err := s.rounds(turns, o.Rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		for i, cost := range costs {
			c := cell{turns[i].by.name, step.name, family, rows}
			into.add(c, cost)
			if o.Told != nil {
				o.Told(c.result(cost))
			}
		}
	}
	return nil
}

// step is one case, in an order that each leaves the table as the next needs it.
type step struct {
	name    string
	prepare func() error
	loads   func() ([2]load, error)
}

func (s *stage) steps(o Options) []step {
	known := func(name string, flows uint32) step {
		return step{name, func() error { return s.begin(flows) }, func() ([2]load, error) { return s.established(flows, o) }}
	}
	fresh := func() ([2]load, error) { return s.opening(allowedPort, o.RunsNew) }
	if o.Spread {
		return []step{{New, nil, fresh}}
	}
	return []step{
		known(EstablishedOne, 1), known(EstablishedSome, 10_000), known(EstablishedMany, 400_000),
		{New, nil, fresh},
		{DeniedFirst, nil, func() ([2]load, error) { return s.opening(deniedPort, o.RunsNew) }},
		{DeniedRepeat, nil, func() ([2]load, error) { return s.repeated(o.RunsHot) }},
		{NewEvicting, s.fill, fresh},
	}
}

// rounds of all loads and the empty program, in turn; each load's time less the
// empty program's, in every round.
func (s *stage) rounds(loads []load, rounds int) (over [][]float64, err error) {
	over = make([][]float64, len(loads))
	for i := range loads { // caches, and the generators' states
		warm := loads[i]
		warm.packets = max(1, warm.packets/10)
		if _, err := s.both(&warm, false); err != nil {
			return over, err
		}
	}
	for round := range rounds {
		for i := range loads {
			turn := (i + round) % len(loads)
			cost, err := s.both(&loads[turn], round%2 == 0)
			if err != nil {
				return over, err
			}
			over[turn] = append(over[turn], cost)
		}
	}
	return over, nil
}

// both runs the program and the empty one on the same packets.
func (s *stage) both(l *load, emptyFirst bool) (float64, error) {
	if l.feed != nil {
		if l.fresh {
			l.feed.Next, s.next = s.next, s.next+uint64(l.packets)
		}
		if l.feed.Count > 0 {
			l.feed.Next = l.feed.Next*6364136223846793005 + 1442695040888963407 // another order in each round
		}
	}
	var zero, cost float64
	var err error
	if emptyFirst {
		if zero, err = s.idly(*l); err != nil {
			return 0, err
		}
	}
	err = s.proven(*l, func() error { cost, err = s.once(*l); return err })
	if err == nil && !emptyFirst {
		zero, err = s.idly(*l)
	}
	return cost - zero, err
}

// once runs the program of a load.
func (s *stage) once(l load) (float64, error) {
	if l.feed == nil {
		return s.batches(l.by.program, l, l.want)
	}
	return s.fed(l.by.feeder, l, l.want)
}

// idly runs the empty program on the same packets.
func (s *stage) idly(l load) (float64, error) {
	switch {
	case l.empty != nil:
		return s.batches(l.empty, l, l.want)
	case l.feed == nil:
		return s.batches(s.empty, l, passed)
	}
	return s.fed(s.idle, l, passed)
}

func (s *stage) fed(by *feeder, l load, want uint32) (float64, error) {
	if err := by.set(*l.feed); err != nil {
		return 0, err
	}
	return s.batches(by.objects.FeedNext, l, want)
}

// batches are as large as an endpoint may tell events at once; in between it is
// allowed to tell as many again. The mean of all, in ns a packet.
func (s *stage) batches(program *ebpf.Program, l load, want uint32) (mean float64, err error) {
	size := l.packets
	if l.told >= 0 {
		size = min(size, toldAtOnce)
	}
	err = s.rig.Inside(func() error {
		for done := 0; done < l.packets; done += size {
			if l.told >= 0 {
				if err := s.allowEvents(); err != nil {
					return err
				}
			}
			packets := min(size, l.packets-done)
			cost, err := run(program, l.frame, s.arrival(l), packets, want)
			if err != nil {
				return err
			}
			mean += cost * float64(packets) / float64(l.packets)
		}
		return nil
	})
	return mean, err
}

// arrival is the context of a packet: where it came in, and at whose veth it is.
func (s *stage) arrival(l load) []byte {
	if l.bare {
		return nil
	}
	if l.direction == policy.Egress {
		return arrivalAt(s.pod, s.pod)
	}
	return arrivalAt(s.pod, s.uplink)
}

// proven calls f, and checks that weir made of the packets what the load says.
func (s *stage) proven(l load, f func() error) error {
	if l.unseen {
		err := f()
		_, unread := s.events()
		return errors.Join(err, unread)
	}
	if _, err := s.events(); err != nil {
		return err
	}
	before, err := s.counted(l.direction, l.reason)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := s.counted(l.direction, l.reason)
	if err != nil {
		return err
	}
	told, err := s.events()
	if err != nil {
		return err
	}
	if counted := after - before; counted != uint64(l.packets) {
		return fmt.Errorf("%s counted %d of %d packets as reason %d: they are not what this case is about", programNames[l.direction], counted, l.packets, l.reason)
	}
	const suppressed = 20 // events of one tuple, one a second
	if l.told < 0 && told[ringAllowed]+told[ringDenied] > suppressed || l.told >= 0 && told[l.told] != l.packets {
		return fmt.Errorf("%s told %v events of %d packets", programNames[l.direction], told, l.packets)
	}
	return nil
}
