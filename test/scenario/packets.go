// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Packets judges by real packets on a Stage: each is put on the wire inside its
// source, and looked for inside its destination.
type Packets struct {
	*pipeline
	stage *Stage
	world *World
}

// NewPackets takes a Stage over that no other Packets uses. Close gives it
// back, empty.
func NewPackets(s *Stage) (*Packets, error) {
	marks, err := s.dp.Marks()
	if err != nil {
		return nil, err
	}
	p := &Packets{pipeline: newPipeline(marks), stage: s, world: NewWorld()}
	return p, s.node.Do(func() error { return s.dp.Apply(p.nodeAddrs()) })
}

// Apply implements Engine.
func (p *Packets) Apply(b policy.Batch) error {
	p.world.Apply(b)
	return p.stage.node.Do(func() error {
		// An address moves only to a veth when no other one has it.
		return errors.Join(p.release(), p.stage.dp.Apply(p.update(b)), p.bind(), p.stage.dp.Apply(p.collect()))
	})
}

// local are the pods that need a seat.
func (p *Packets) local() map[policy.ObjectKey]*policy.Pod {
	out := map[policy.ObjectKey]*policy.Pod{}
	for key, pod := range p.world.Pods {
		if pod.Node == Here && !pod.HostNetwork && !pod.Terminal {
			out[key] = pod
		}
	}
	return out
}

// release frees the seats of pods that are gone, and takes from the others
// the addresses that they lost.
func (p *Packets) release() error {
	var errs []error
	local := p.local()
	for _, s := range p.stage.seats {
		if !s.taken {
			continue
		}
		pod := local[s.key]
		if pod == nil {
			errs = append(errs, p.stage.dp.Unbind(s.pod.Ifindex))
			s.taken, s.addrs = false, nil
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(s.addrs), func(a netip.Addr) bool { return !slices.Contains(pod.IPs, a) })
		if len(kept) < len(s.addrs) {
			errs = append(errs, p.stage.bind(s, s.key, kept))
		}
	}
	return errors.Join(errs...)
}

func (p *Packets) bind() error {
	var errs []error
	local := p.local()
	for _, key := range keys(local) {
		s, err := p.stage.seatOf(key)
		if err != nil {
			return err
		}
		if s.taken && slices.Equal(s.addrs, local[key].IPs) {
			continue
		}
		errs = append(errs, p.stage.bind(s, key, local[key].IPs))
		for _, addr := range local[key].IPs {
			errs = append(errs, p.stage.lead(addr, s))
		}
	}
	return errors.Join(errs...)
}

func (s *Stage) bind(to *seat, key policy.ObjectKey, addrs []netip.Addr) error {
	to.taken, to.key, to.addrs = true, key, slices.Clone(addrs)
	return s.dp.Bind(datapath.Binding{
		Ifindex: to.pod.Ifindex, Ifname: to.pod.Ifname, Pod: key, UID: key.String(), Addrs: to.addrs, Mode: bpf.WeirModeMODE_ENFORCE,
	})
}

// seatOf is the pod's seat, or a free one.
func (s *Stage) seatOf(key policy.ObjectKey) (*seat, error) {
	for _, seat := range s.seats {
		if seat.taken && seat.key == key {
			return seat, nil
		}
	}
	for _, seat := range s.seats {
		if !seat.taken {
			return seat, nil
		}
	}
	return nil, fmt.Errorf("%s: all %d seats are taken", key, len(s.seats))
}

// Close implements Engine. It fails if the data path keeps anything of objects
// that are gone.
func (p *Packets) Close() error {
	err := p.Apply(p.world.Removal())
	for _, use := range p.stage.dp.Usage() {
		if use.Map == bpf.WeirMapRows && use.Used > 0 || use.Map == bpf.WeirMapEndpoints && use.Used > 0 {
			err = errors.Join(err, fmt.Errorf("without any object, map %s still holds %d entries", use.Map, use.Used))
		}
	}
	return err
}
