// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/weirnet/weir/bpf"
)

// Machine is the two programs, loaded with private maps, and a namespace with
// pairs of veths to run them on. It is for one goroutine at a time. Nothing of
// it is pinned or named: when the process ends, everything is gone.
type Machine struct {
	options Options
	objects bpf.WeirObjects
	space   *space
	rings   [2]*ringbuf.Reader // by enum ring
	seen    totals             // after the last run

	revision  uint32
	ingressAt int // where test runs take ingress_ifindex
}

// NewMachine loads the programs. It needs root. Close gives everything back.
func NewMachine(o Options) (*Machine, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("machine: lift the limit of locked memory (root is needed): %w", err)
	}
	m := &Machine{options: o}
	if err := m.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("machine: %w", err), m.Close())
	}
	return m, nil
}

func (m *Machine) open() error {
	if err := m.load(); err != nil {
		return err
	}
	var err error
	if m.space, err = newSpace(m.options.Links); err != nil {
		return err
	}
	for ring, events := range []*ebpf.Map{m.objects.EventsAllowed, m.objects.EventsDenied} {
		if m.rings[ring], err = ringbuf.NewReader(events); err != nil {
			return fmt.Errorf("read ring %d: %w", ring, err)
		}
	}
	return m.Reset()
}

func (m *Machine) load() error {
	spec, err := bpf.LoadWeir()
	if err != nil {
		return err
	}
	o := m.options
	for name, value := range map[string]any{
		bpf.WeirVarTicksPerSecond:  o.TicksPerSecond,
		bpf.WeirVarRecheckExisting: o.Recheck,
		bpf.WeirVarMidstreamStrict: o.MidstreamStrict,
		bpf.WeirVarSourceCheck:     o.SourceCheck,
		bpf.WeirVarHaveForwardHook: o.ForwardHook,
		bpf.WeirVarHaveConntrack:   o.Conntrack,
	} {
		variable := spec.Variables[name]
		if variable == nil {
			return fmt.Errorf("the object has no variable %s: generate bpf again", name)
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	for _, name := range []string{bpf.WeirVarAllowedRate, bpf.WeirVarDeniedRate} {
		if o.EventRate == 0 {
			continue
		}
		if err := spec.Variables[name].Set(o.EventRate); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	for name, entries := range map[string]uint32{
		bpf.WeirMapFlows: o.Flows, bpf.WeirMapFlowsSpill: o.Spill, bpf.WeirMapRows: 4096, bpf.WeirMapPeers: 4096,
	} {
		spec.Maps[name].MaxEntries = entries
	}
	if err := bpf.SizeRings(spec, o.RingBytes); err != nil {
		return err
	}
	if m.ingressAt, err = placeOfIngress(); err != nil {
		return err
	}
	for _, p := range spec.Programs {
		if err := readIngressAt(m.ingressAt, p); err != nil {
			return err
		}
	}
	var loaded struct {
		bpf.WeirMaps
		FromPod *ebpf.Program `ebpf:"from_pod"`
		ToPod   *ebpf.Program `ebpf:"to_pod"`
	}
	if err := spec.LoadAndAssign(&loaded, nil); err != nil {
		return fmt.Errorf("load the programs: %w", err)
	}
	m.objects.WeirMaps, m.objects.FromPod, m.objects.ToPod = loaded.WeirMaps, loaded.FromPod, loaded.ToPod
	return nil
}

// Close frees programs, maps and namespace.
func (m *Machine) Close() error {
	var errs []error
	for _, ring := range m.rings {
		if ring != nil {
			errs = append(errs, ring.Close())
		}
	}
	if m.objects.FromPod != nil {
		errs = append(errs, m.objects.Close())
	}
	if m.space != nil {
		errs = append(errs, m.space.close())
	}
	return errors.Join(errs...)
}

// Link is the ifindex of the host's end of pair n, from 0.
func (m *Machine) Link(n int) uint32 { return m.space.links[n] }

// Reset empties every map, and leaves what the agent guarantees to be there:
// the two prefixes that keep address families and link-local addresses apart,
// and epoch 1.
func (m *Machine) Reset() error {
	o := &m.objects
	for _, table := range []*ebpf.Map{
		o.Endpoints, o.LocalIps, o.Peers, o.Cidrs, o.Rows, o.Flows, o.FlowsSpill, o.Fragments, o.Translated, o.Tunnels, o.Drops,
	} {
		if err := empty(table); err != nil {
			return err
		}
	}
	for _, table := range []*ebpf.Map{o.FlowUsage, o.FlowLimit} {
		for slot := range uint32(Slots) {
			if err := table.Put(slot, uint64(0)); err != nil {
				return fmt.Errorf("reset %s: %w", table, err)
			}
		}
	}
	for slot := range uint32(Slots) {
		if err := o.Allowances.Put(slot, bpf.WeirAllowance{}); err != nil {
			return fmt.Errorf("reset %s: %w", o.Allowances, err)
		}
	}
	errs := []error{
		m.writeDenials(make([]bpf.WeirDenial, o.Denials.MaxEntries())),
		m.SetEpoch(1),
		m.moveRevision(),
		m.PutPrefix(netip.MustParsePrefix("0.0.0.0/0"), 0),
		m.PutPrefix(netip.MustParsePrefix("fe80::/10"), 0),
	}
	for ring := range m.rings {
		_, err := m.drain(bpf.WeirRing(ring))
		errs = append(errs, err)
	}
	var err error
	m.seen, err = m.totals()
	return errors.Join(append(errs, err)...)
}

// empty deletes by raw keys: the order of iteration is not needed, and a
// deletion while iterating may skip entries, so it goes on until none is left.
func empty(table *ebpf.Map) error {
	for {
		var keys [][]byte
		var key []byte
		next, err := table.NextKeyBytes(nil)
		for ; err == nil && next != nil; next, err = table.NextKeyBytes(key) {
			key = next
			keys = append(keys, key)
		}
		if err != nil {
			return fmt.Errorf("empty %s: %w", table, err)
		}
		if len(keys) == 0 {
			return nil
		}
		for _, key := range keys {
			if err := table.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("empty %s: %w", table, err)
			}
		}
	}
}
