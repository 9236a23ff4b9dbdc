// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/rig"
)

// stage is one pod with its policy, and the programs on its veth. Both
// programs are measured on it, one flow table serves all cases.
type stage struct {
	rig      *rig.Rig
	family   family
	empty    *ebpf.Program
	programs [2]*ebpf.Program  // by policy.Direction
	runners  [2]runner         // of the programs
	idle     *feeder           // of the empty program
	floors   map[string]runner // by name of the program
	maps     [2]*ebpf.Map      // of events; the readers need them open
	rings    [2]*ringbuf.Reader
	// The hook behind translation, and its empty program.
	forward, emptyForward *ebpf.Program
	// allowances say how many events an endpoint may tell.
	allowances *ebpf.Map
	pod        uint32 // ifindex
	uplink     uint32
	shift      uint32 // 2 to the power of this peers are called
	stride     uint32
	// next is the first index of a tuple that was never used; indices of
	// flows that the pod began and of those that peers began do not meet.
	next uint64
}

// targets are called in the ordinary cases, at even distances among all peers:
// a power of two, so that the feeding program need not divide.
const targetBits = 7

func newStage(o Options, f family, rows int) (s *stage, err error) {
	s = &stage{family: f, shift: targetBits}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	peers := max(rows, 1<<targetBits)
	if o.Spread {
		// Not fewer than in the ordinary cases: a peer has 64,512 ports.
		for ; 2<<s.shift <= rows; s.shift++ {
		}
	}
	s.stride = uint32(peers >> s.shift)
	if s.rig, err = rig.New("wbp", o.Sizes, 1); err != nil {
		return s, err
	}
	pod, err := s.rig.AddPod(subject(f))
	if err != nil {
		return s, err
	}
	update, _, err := s.rig.Change(cluster(f, rows, peers))
	if err != nil {
		return s, err
	}
	if len(update.Rows) != 2*rows {
		return s, fmt.Errorf("the policy has %d rows, want %d in each direction", len(update.Rows), rows)
	}
	if err = s.rig.Finish(); err != nil {
		return s, err
	}
	uplink, err := s.rig.Node.Link.LinkByName("uplink")
	if err != nil {
		return s, err
	}
	s.pod, s.uplink = uint32(pod.Ifindex), uint32(uplink.Attrs().Index)
	return s, s.open(pod.Ifindex)
}

func (s *stage) open(ifindex int) (err error) {
	if s.empty, err = newEmpty(); err != nil {
		return err
	}
	if s.idle, err = newFeeder(s.empty); err != nil {
		return err
	}
	if s.programs, err = s.rig.Programs(ifindex); err != nil {
		return err
	}
	for _, direction := range policy.Directions {
		s.runners[direction] = runner{name: programNames[direction], program: s.programs[direction]}
		if s.runners[direction].feeder, err = newFeeder(s.programs[direction]); err != nil {
			return err
		}
	}
	if s.floors, err = newFloors(s.programs[0]); err != nil {
		return err
	}
	if s.forward, err = newForward(s.programs[0]); err != nil {
		return err
	}
	if s.emptyForward, err = newEmptyForward(); err != nil {
		return err
	}
	for ring, name := range []string{bpf.WeirMapEventsAllowed, bpf.WeirMapEventsDenied} {
		if s.maps[ring], err = rig.Map(s.programs[0], name); err != nil {
			return err
		}
		if s.rings[ring], err = ringbuf.NewReader(s.maps[ring]); err != nil {
			return err
		}
	}
	s.allowances, err = rig.Map(s.programs[0], bpf.WeirMapAllowances)
	return err
}

// events that were told since they were read last. A deadline in the past
// makes the reader look without waiting.
func (s *stage) events() (told [2]int, err error) {
	var record ringbuf.Record
	for ring, reader := range s.rings {
		reader.SetDeadline(time.Unix(1, 0))
		for {
			err := reader.ReadInto(&record)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return told, fmt.Errorf("read events: %w", err)
			}
			told[ring]++
		}
	}
	return told, nil
}

// toldAtOnce is a number of events of either kind that an endpoint may tell in
// one burst (bpf/src/config.h).
const toldAtOnce = 1000

// allowEvents forgets that endpoints have told any: "with its event" is the
// case, and not what becomes of a flood.
func (s *stage) allowEvents() error {
	n := int(s.allowances.MaxEntries())
	keys, values := make([]uint32, n), make([]bpf.WeirAllowance, n)
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := s.allowances.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("write %s: %w", s.allowances, err)
	}
	return nil
}

// counted is how many packets were counted for a reason.
func (s *stage) counted(direction policy.Direction, reason bpf.WeirReason) (uint64, error) {
	now, err := s.rig.Path.Counters()
	return now.Totals[direction][reason].Packets, err
}

// entries of a map.
func (s *stage) entries(name string) (int, error) {
	table, err := rig.Map(s.programs[0], name)
	if err != nil {
		return 0, err
	}
	defer table.Close()
	n := 0
	key, err := table.NextKeyBytes(nil)
	for ; err == nil && key != nil; n++ {
		key, err = table.NextKeyBytes(key)
	}
	return n, err
}

func (s *stage) close() error {
	errs := []error{s.programs[0].Close(), s.programs[1].Close(), s.empty.Close()}
	for _, f := range []*feeder{s.runners[0].feeder, s.runners[1].feeder, s.idle} {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	for _, r := range s.rings {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	errs = append(errs, closeFloors(s.floors), s.forward.Close(), s.emptyForward.Close(), s.maps[0].Close(), s.maps[1].Close(), s.allowances.Close())
	if s.rig != nil {
		errs = append(errs, s.rig.Close())
	}
	return errors.Join(errs...)
}
