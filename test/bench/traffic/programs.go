// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/test/bench/floor"
)

// newEmpty is a program that passes everything.
func (s *stage) newEmpty(kind ebpf.ProgramType, attach ebpf.AttachType, pass int32) (*ebpf.Program, error) {
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: kind, AttachType: attach, License: "Dual BSD/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()},
	})
	if err == nil {
		s.opened = append(s.opened, empty)
	}
	return empty, err
}

// attach puts programs where weir has its own, on the pods' veths.
func (s *stage) attach(fromPod, toPod *ebpf.Program) error {
	return s.node.Do(func() error {
		for _, pod := range s.node.Pods {
			for hook, program := range map[ebpf.AttachType]*ebpf.Program{ebpf.AttachTCXIngress: fromPod, ebpf.AttachTCXEgress: toPod} {
				l, err := link.AttachTCX(link.TCXOptions{Interface: pod.Ifindex, Program: program, Attach: hook})
				if err != nil {
					return err
				}
				s.opened = append(s.opened, l)
			}
		}
		return nil
	})
}

func attachEmpty(_ context.Context, s *stage) error {
	const next = -1 // TCX_NEXT
	empty, err := s.newEmpty(ebpf.SchedCLS, ebpf.AttachNone, next)
	if err != nil {
		return err
	}
	return s.attach(empty, empty)
}

// attachEmptyHooks: behind translation, too. Nothing in these places can be
// cheaper.
func attachEmptyHooks(ctx context.Context, s *stage) error {
	if err := attachEmpty(ctx, s); err != nil {
		return err
	}
	return s.attachEmptyHook()
}

func (s *stage) attachEmptyHook() error {
	const accept = 1
	empty, err := s.newEmpty(ebpf.Netfilter, ebpf.AttachNetfilter, accept)
	if err != nil {
		return err
	}
	return s.node.Do(func() error {
		l, err := link.AttachNetfilter(link.NetfilterOptions{Program: empty, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetForward, Priority: 10})
		if err == nil {
			s.opened = append(s.opened, l)
		}
		return err
	})
}

// attachTable puts programs on the pods' veths that keep the table of flows, in
// weir's size, tell of each flow, and do nothing else; and an empty one behind
// translation. Nothing that tracks flows in such a table can be cheaper.
func attachTable(_ context.Context, s *stage) error {
	memory, err := datapath.Memory(os.DirFS("/"))
	if err != nil {
		return err
	}
	spec, err := floor.LoadFloor()
	if err != nil {
		return err
	}
	sizes := datapath.Sizes{}.Fill(memory)
	spec.Maps[floor.FloorMapFlows].MaxEntries = sizes.Flows
	spec.Maps[floor.FloorMapEventsAllowed].MaxEntries = sizes.Ring
	var objects struct {
		FromPod *ebpf.Program `ebpf:"floor_from_pod"`
		ToPod   *ebpf.Program `ebpf:"floor_to_pod"`
		Events  *ebpf.Map     `ebpf:"events_allowed"`
	}
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return err
	}
	s.opened = append(s.opened, objects.FromPod, objects.ToPod, objects.Events)
	events, err := readEvents(objects.Events)
	if err != nil {
		return err
	}
	s.opened = append(s.opened, events)
	return errors.Join(s.attach(objects.FromPod, objects.ToPod), s.attachEmptyHook())
}

// eventReader empties a ring as often as the agent does.
type eventReader struct {
	ring *ringbuf.Reader
	stop chan struct{}
	done chan error
}

func readEvents(ring *ebpf.Map) (*eventReader, error) {
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, err
	}
	r := &eventReader{ring: reader, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { r.done <- r.run() }()
	return r, nil
}

func (r *eventReader) run() error {
	const pause = 50 * time.Millisecond // the agent's is 50 to 100
	var record ringbuf.Record
	for {
		select {
		case <-r.stop:
			return nil
		case <-time.After(pause):
		}
		r.ring.SetDeadline(time.Unix(1, 0)) // past: it looks without waiting
		var err error
		for err == nil {
			err = r.ring.ReadInto(&record)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// Close returns what went wrong while it read.
func (r *eventReader) Close() error {
	close(r.stop)
	return errors.Join(<-r.done, r.ring.Close())
}
