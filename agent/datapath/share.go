// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/weirnet/weir/bpf"
)

func (d *Datapath) usageOf(slot uint32) (uint64, error) {
	var used uint64
	if err := d.maps[bpf.WeirMapFlowUsage].Lookup(slot, &used); err != nil {
		return 0, fmt.Errorf("read flow usage: %w", err)
	}
	return used, nil
}

// endPass gives endpoints their room back, and frees what is left of veths
// that are gone.
func (d *Datapath) endPass(p *pass, s Swept, drops int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.callers = p.callers
	empty := 0
	if s.Spill == 0 {
		empty = d.swept.spillEmpty + 1
	}
	d.swept = sweepTotals{flows: s.Live, spill: s.Spill, drops: drops, spillEmpty: empty}
	for ifindex, slot := range p.departed {
		if _, ok := d.departed[ifindex]; ok { // not bound again in between
			d.slots.put(slot)
			delete(d.departed, ifindex)
		}
	}
	var errs []error
	for ifindex, slot := range p.bound {
		if b := d.bindings[int(ifindex)]; b != nil && b.slot == slot {
			errs = append(errs, d.credit(slot, p.usage[slot], p.deleted[ifindex], p.left[ifindex]))
		}
	}
	return errors.Join(append(errs, d.closeSpill())...)
}

// credit raises the limit of a slot by what was deleted. If no entry was made
// during the walk, the count of what is left is exact, and the limit is set by
// it: so a changed share, and what a crash between deleting and raising has
// lost, are put right.
func (d *Datapath) credit(slot uint32, before, deleted, left uint64) error {
	used, err := d.usageOf(slot)
	if err != nil {
		return err
	}
	var limit uint64
	if err := d.maps[bpf.WeirMapFlowLimit].Lookup(slot, &limit); err != nil {
		return fmt.Errorf("read flow limit: %w", err)
	}
	want := limit + deleted
	if share := d.opts.Sizes.share(d.opts.ExpectedPods); used == before {
		want = used + share - min(share, left)
	}
	if want == limit {
		return nil
	}
	if err := d.maps[bpf.WeirMapFlowLimit].Put(slot, want); err != nil {
		return fmt.Errorf("write flow limit: %w", err)
	}
	return nil
}

// closeSpill spares the programs the lookup in flows_spill once it has been
// empty for two passes. A program may fill it at the same instant: looked at
// again after the flag is off, it goes on again.
func (d *Datapath) closeSpill() error {
	usage, spill := d.maps[bpf.WeirMapFlowUsage], d.maps[bpf.WeirMapFlowsSpill]
	spilled, err := d.usageOf(spillSlot)
	if err != nil || spilled == 0 || d.swept.spillEmpty < 2 {
		return err
	}
	if err := usage.Put(uint32(spillSlot), uint64(0)); err != nil {
		return fmt.Errorf("write flow usage: %w", err)
	}
	var key bpf.WeirFlowKey
	if spill.NextKey(nil, &key) != nil {
		return nil // still empty
	}
	if err := usage.Put(uint32(spillSlot), uint64(1)); err != nil {
		return fmt.Errorf("write flow usage: %w", err)
	}
	return nil
}

// forgetFlows deletes all flow entries of an interface at once.
func (d *Datapath) forgetFlows(ifindex int) error {
	for _, name := range []string{bpf.WeirMapFlows, bpf.WeirMapFlowsSpill} {
		m := d.maps[name]
		err := eachFlow(m, func(keys []bpf.WeirFlowKey, _ []bpf.WeirFlow) error {
			for _, k := range keys {
				if int(k.Ifindex) != ifindex {
					continue
				}
				if _, err := d.store.Remove(name, []bpf.WeirFlowKey{k}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("forget the flows of interface %d: %w", ifindex, err)
		}
	}
	return nil
}
