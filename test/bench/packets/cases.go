// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/packet"
)

// Names of the cases.
const (
	EstablishedOne  = "established, 1 flow"
	EstablishedSome = "established, 10k flows"
	EstablishedMany = "established, 400k flows"
	New             = "new"
	NewEvicting     = "new, evicting"
	DeniedFirst     = "denied first"
	DeniedRepeat    = "denied repeat"
)

// load is what one program gets in one case, and what it must make of it.
type load struct {
	direction policy.Direction
	frame     []byte
	feed      *FeedFeed // nil: the frame as it is
	fresh     bool      // the tuples were never used before
	packets   int
	want      uint32
	reason    bpf.WeirReason
	// told says which ring gets an event of each packet; -1: none.
	told int
	by   runner
	// empty is the program to compare with; nil: that of TC.
	empty *ebpf.Program
	// unseen packets are not counted, nor told: the program looks itself.
	unseen bool
	bare   bool // the frame begins at layer 3, and comes from nowhere
}

// tuples of one direction. The side that did not begin has the port fixed.
func (s *stage) tuples(direction policy.Direction, podBegan bool, fixed uint16, next uint64, count uint32) *FeedFeed {
	feed := &FeedFeed{
		Next: next, Count: count, Shift: s.shift, Stride: s.stride, Base: s.family.last(),
		AddressAt: s.family.source, PortsAt: s.family.ports, FixedPort: packet.Port(fixed),
	}
	if direction == policy.Egress {
		feed.AddressAt = s.family.destination
	}
	if podBegan == (direction == policy.Egress) {
		feed.SenderBegan = 1
	}
	return feed
}

// established: the pod's packets, and the answers to the pod, of as many flows
// as were begun.
func (s *stage) established(flows uint32, o Options) ([2]load, error) {
	const firstPort = 1024 // that of tuple 0
	out, err := s.family.frame(true, packet.ACK, firstPort, allowedPort)
	back, err2 := s.family.frame(false, packet.ACK, allowedPort, firstPort)
	loads := [2]load{
		policy.Egress:  {by: s.runners[policy.Egress], direction: policy.Egress, frame: out, want: passed, reason: bpf.WeirReasonREASON_ESTABLISHED, told: -1, packets: o.RunsHot},
		policy.Ingress: {by: s.runners[policy.Ingress], direction: policy.Ingress, frame: back, want: passed, reason: bpf.WeirReasonREASON_REPLY, told: -1, packets: o.RunsHot},
	}
	if flows > 1 {
		const seed = 88172645463325252
		for i := range loads {
			loads[i].feed = s.tuples(loads[i].direction, true, allowedPort, seed, flows)
			loads[i].packets = o.RunsRandom
		}
	}
	return loads, errors.Join(err, err2)
}

// begin makes flows from the pod up to index flows, and answers each.
func (s *stage) begin(flows uint32) error {
	for uint32(s.next) < flows {
		n := min(int(flows)-int(s.next), maxNew)
		syn, err := s.family.frame(true, packet.SYN, 0, 0)
		if err != nil {
			return err
		}
		ack, err := s.family.frame(false, packet.SYN|packet.ACK, 0, 0)
		if err != nil {
			return err
		}
		for _, l := range []load{
			{direction: policy.Egress, frame: syn, reason: bpf.WeirReasonREASON_RULE, told: ringAllowed},
			{direction: policy.Ingress, frame: ack, reason: bpf.WeirReasonREASON_REPLY, told: -1},
		} {
			l.by, l.feed, l.packets, l.want = s.runners[l.direction], s.tuples(l.direction, true, allowedPort, s.next, 0), n, passed
			if err := s.proven(l, func() error { _, err := s.once(l); return err }); err != nil {
				return fmt.Errorf("begin %d flows: %w", flows, err)
			}
		}
		s.next += uint64(n)
	}
	return nil
}

const (
	ringAllowed = int(bpf.WeirRingRING_ALLOWED)
	ringDenied  = int(bpf.WeirRingRING_DENIED)
)

// opening packets, to a port that policy allows or not, of tuples that are new.
func (s *stage) opening(port uint16, packets int) ([2]load, error) {
	var loads [2]load
	for _, direction := range policy.Directions {
		out := direction == policy.Egress
		frame, err := s.family.frame(out, packet.SYN, 1024, port)
		if err != nil {
			return loads, err
		}
		l := load{by: s.runners[direction], direction: direction, frame: frame, fresh: true, packets: packets, want: passed, reason: bpf.WeirReasonREASON_RULE, told: ringAllowed}
		if port == deniedPort {
			l.want, l.reason, l.told = denied, bpf.WeirReasonREASON_NO_RULE, ringDenied
		}
		l.feed = s.tuples(direction, out, port, 0, 0)
		loads[direction] = l
	}
	return loads, nil
}

// repeated denials of one tuple: told at most once a second.
func (s *stage) repeated(packets int) ([2]load, error) {
	loads, err := s.opening(deniedPort, packets)
	for i := range loads {
		loads[i].feed, loads[i].fresh, loads[i].told = nil, false, -1
	}
	return loads, err
}

// fill makes new flows until the flow table and the spill table have no room.
func (s *stage) fill() error {
	size := s.rig.Path.Sizes()
	need := int(size.Flows) + int(size.Spill)*5/4
	loads, err := s.opening(allowedPort, maxNew)
	if err != nil {
		return err
	}
	l := loads[policy.Egress]
	for made := 0; made < need; made += l.packets {
		l.feed.Next, s.next = s.next, s.next+uint64(l.packets)
		if err := s.proven(l, func() error { _, err := s.once(l); return err }); err != nil {
			return fmt.Errorf("fill the flow table: %w", err)
		}
	}
	// Only what has no room in the flow table is spilled. An LRU gives up a
	// batch of entries at a time.
	spilled, err := s.entries(bpf.WeirMapFlowsSpill)
	if err != nil {
		return err
	}
	if spilled < int(size.Spill)*95/100 {
		return fmt.Errorf("after %d new flows %d of %d entries of the spill table are in use: not full", need, spilled, size.Spill)
	}
	return nil
}
