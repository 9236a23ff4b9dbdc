// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// SetServices says on which ports the node translates what is sent to its own
// addresses: node ports and host ports, all of them. Flows that are known are
// not judged again (DESIGN 3.3: never for Service changes).
func (d *Datapath) SetServices(translated []policy.PortNumber) error {
	wanted := make(map[bpf.WeirPortKey]bool, len(translated))
	for _, p := range translated {
		wanted[bpf.WeirPortKey{Port: bigEndian(p.Number), Protocol: uint8(p.Protocol)}] = true
	}
	return d.setPorts(bpf.WeirMapTranslated, wanted)
}

// SetTunnels says on which UDP ports the node takes off an encapsulation.
func (d *Datapath) SetTunnels(ports []uint16) error {
	wanted := make(map[bpf.WeirPortKey]bool, len(ports))
	for _, p := range ports {
		wanted[bpf.WeirPortKey{Port: bigEndian(p), Protocol: uint8(policy.UDP)}] = true
	}
	return d.setPorts(bpf.WeirMapTunnels, wanted)
}

// setPorts writes what is new, then deletes what is not wanted: in between
// both hold, which denies more and never less.
func (d *Datapath) setPorts(table string, wanted map[bpf.WeirPortKey]bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	have := d.tables.ports[table]
	var add, remove []bpf.WeirPortKey
	for k := range wanted {
		if !have[k] {
			add = append(add, k)
		}
	}
	for k := range have {
		if !wanted[k] {
			remove = append(remove, k)
		}
	}
	if err := d.room(table, len(have)+len(add)); err != nil {
		return err
	}
	if len(add) > 0 {
		ones := make([]uint8, len(add))
		for i := range ones {
			ones[i] = 1
		}
		n, err := d.store.Put(table, add, ones)
		for _, k := range add[:n] {
			have[k] = true
		}
		if err != nil {
			return d.asFull(table, len(have)+1, err)
		}
	}
	if len(remove) == 0 {
		return nil
	}
	if _, err := d.store.Remove(table, remove); err != nil {
		return err
	}
	for _, k := range remove {
		delete(have, k)
	}
	return nil
}
