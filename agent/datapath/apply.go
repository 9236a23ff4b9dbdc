// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// Apply brings the maps from one state of policy to the next: rows, then the
// classes of addresses, then each endpoint's sets in one write, then the
// epoch; after a grace period, what nothing refers to is deleted. A flip and
// the next update's classes have a grace period between them, too. It returns
// when addresses may be reused.
//
// If a map has no room, it returns a *FullError and nothing of the update is
// in force: what was written is taken back, and the last good generation
// stays. The update is kept, and joined to the next one; that may delete what
// stands in the way. An empty update tries again.
func (d *Datapath) Apply(u compile.Update) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	u = merge(d.pending, u)
	d.pending = u
	if err := d.checkRoom(u); err != nil {
		return err
	}
	if err := d.raiseMarks(u); err != nil {
		return err
	}
	if err := d.writeBeside(u); err != nil {
		return err
	}
	// From here there is no way back: endpoints that flipped need the rows.
	d.pending = compile.Update{
		Subjects: u.Subjects, MoveEpoch: true, GoneSubjects: u.GoneSubjects,
		GonePeers: u.GonePeers, GonePrefixes: u.GonePrefixes, GoneRows: u.GoneRows,
	}
	flipped, err := d.flip(u)
	if err != nil {
		return err
	}
	if flipped || u.MoveEpoch {
		if err := d.moveEpoch(); err != nil {
			return err
		}
	}
	d.pending = compile.Update{GonePeers: u.GonePeers, GonePrefixes: u.GonePrefixes, GoneRows: u.GoneRows}
	if err := d.deleteGone(u); err != nil {
		return err
	}
	d.pending = compile.Update{}
	return nil
}

// checkRoom finds out before the first write. Deletions come last, so the old
// and the new have to fit together.
func (d *Datapath) checkRoom(u compile.Update) error {
	peers, prefixes := len(d.tables.peers), len(d.tables.prefixes)
	for _, p := range u.Peers {
		if _, ok := d.tables.peers[p.Addr.Unmap()]; !ok {
			peers++
		}
	}
	for _, p := range u.Prefixes {
		if _, ok := d.tables.prefixes[p.Prefix]; !ok {
			prefixes++
		}
	}
	var errs []error
	if len(u.Rows) > 0 {
		errs = append(errs, d.room(bpf.WeirMapRows, d.tables.rows+len(u.Rows)))
	}
	if peers > len(d.tables.peers) {
		errs = append(errs, d.room(bpf.WeirMapPeers, peers))
	}
	if prefixes > len(d.tables.prefixes) {
		errs = append(errs, d.room(bpf.WeirMapCidrs, prefixes))
	}
	return errors.Join(errs...)
}

func (d *Datapath) room(table string, need int) error {
	size := d.opts.Sizes.byMap()[table]
	if need <= int(size) {
		return nil
	}
	return &FullError{Map: table, Size: size, Need: uint32(need), Option: optionOf(table)}
}

// raiseMarks comes before any id is visible: an agent that dies in between
// must not have its ids given out again.
func (d *Datapath) raiseMarks(u compile.Update) error {
	var class, set, rule uint32
	for i := range u.Rows {
		row := &u.Rows[i]
		class, set = max(class, row.Key.Class), max(set, row.Key.Set)
		for _, interval := range row.Intervals[:min(int(row.Count), len(row.Intervals))] {
			rule = max(rule, interval.Rule)
		}
	}
	for _, p := range u.Peers {
		class = max(class, uint32(p.Class))
	}
	for _, p := range u.Prefixes {
		class = max(class, uint32(p.Class))
	}
	for _, s := range u.Subjects {
		set = max(set, uint32(s.Ingress), uint32(s.Egress))
	}
	return errors.Join(d.raiseMark(markClass, class), d.raiseMark(markSet, set), d.raiseMark(markRule, rule))
}

// writeBeside writes what no packet is judged by yet (rows), and the classes
// of addresses, for which rows are there in the old sets and in the new. Sets
// of an earlier update have none: a program that still judges by one is waited
// for. On failure all of it is taken back.
func (d *Datapath) writeBeside(u compile.Update) error {
	rows, err := d.putRows(u.Rows)
	if err == nil && d.unsettled && len(u.Peers)+len(u.Prefixes) > 0 {
		err = d.settle()
	}
	if err == nil {
		err = d.putClasses(u)
	}
	if err == nil {
		return nil
	}
	if undo := d.removeRows(rows); undo != nil {
		d.log.Warn("rows of a failed update are left in the map; they are unused", "error", undo)
	}
	return err
}

// putRows returns the keys that are written, also beside an error.
func (d *Datapath) putRows(rows []bpf.WeirRow) ([]bpf.WeirRowKey, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	keys := make([]bpf.WeirRowKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].Key
	}
	n, err := d.store.Put(bpf.WeirMapRows, keys, rows)
	d.tables.rows += n
	return keys[:n], d.asFull(bpf.WeirMapRows, d.tables.rows+1, err)
}

func (d *Datapath) removeRows(keys []bpf.WeirRowKey) error {
	if len(keys) == 0 {
		return nil
	}
	n, err := d.store.Remove(bpf.WeirMapRows, keys)
	d.tables.rows -= n
	return err
}

// asFull names the map, if the kernel had no room after all.
func (d *Datapath) asFull(table string, need int, err error) error {
	if err == nil || !noRoom(err) {
		return err
	}
	full := &FullError{Map: table, Size: d.opts.Sizes.byMap()[table], Need: uint32(need), Option: optionOf(table)}
	return errors.Join(full, err)
}

// putClasses writes peers and prefixes, or puts back what they were.
func (d *Datapath) putClasses(u compile.Update) error {
	undo := classesOf(d.tables, u)
	err := d.putPeers(u.Peers)
	if err == nil {
		err = d.putPrefixes(u.Prefixes)
	}
	if err == nil {
		return nil
	}
	failed := errors.Join(
		d.putPeers(undo.Peers), d.putPrefixes(undo.Prefixes),
		d.removePeers(undo.GonePeers), d.removePrefixes(undo.GonePrefixes), d.moveEpoch())
	if failed != nil {
		return errors.Join(err, fmt.Errorf("and what was written could not be put back: %w", failed))
	}
	return err
}

// classesOf is the update that undoes the peers and prefixes of another.
func classesOf(t tables, u compile.Update) compile.Update {
	var undo compile.Update
	for _, p := range u.Peers {
		addr := p.Addr.Unmap()
		if old, ok := t.peers[addr]; ok {
			undo.Peers = append(undo.Peers, resolve.PeerChange{
				Addr: addr, Class: resolve.ClassID(old.Class), Flags: resolve.PeerFlags(old.Flags)})
		} else {
			undo.GonePeers = append(undo.GonePeers, addr)
		}
	}
	for _, p := range u.Prefixes {
		if old, ok := t.prefixes[p.Prefix]; ok {
			undo.Prefixes = append(undo.Prefixes, resolve.PrefixChange{Prefix: p.Prefix, Class: resolve.ClassID(old)})
		} else {
			undo.GonePrefixes = append(undo.GonePrefixes, p.Prefix)
		}
	}
	return undo
}

func (d *Datapath) putPeers(changes []resolve.PeerChange) error {
	if len(changes) == 0 {
		return nil
	}
	keys := make([]bpf.WeirAddress, len(changes))
	values := make([]bpf.WeirPeer, len(changes))
	for i, p := range changes {
		keys[i] = addressKey(p.Addr)
		values[i] = bpf.WeirPeer{Address: keys[i], Class: uint32(p.Class), Flags: uint32(p.Flags)}
	}
	n, err := d.store.Put(bpf.WeirMapPeers, keys, values)
	for i := range n {
		d.tables.peers[changes[i].Addr.Unmap()] = values[i]
	}
	return d.asFull(bpf.WeirMapPeers, len(d.tables.peers)+1, err)
}

func (d *Datapath) putPrefixes(changes []resolve.PrefixChange) error {
	if len(changes) == 0 {
		return nil
	}
	keys := make([]bpf.WeirCidrKey, len(changes))
	values := make([]uint32, len(changes))
	for i, p := range changes {
		keys[i], values[i] = prefixKey(p.Prefix), uint32(p.Class)
	}
	n, err := d.store.Put(bpf.WeirMapCidrs, keys, values)
	for i := range n {
		d.tables.prefixes[changes[i].Prefix] = values[i]
	}
	return d.asFull(bpf.WeirMapCidrs, len(d.tables.prefixes)+1, err)
}

// flip gives each endpoint its sets, in one write. A pod that is in both lists
// has been replaced: its new sets hold.
func (d *Datapath) flip(u compile.Update) (bool, error) {
	for _, pod := range u.GoneSubjects {
		delete(d.subjects, pod)
	}
	for _, s := range u.Subjects {
		d.subjects[s.Pod] = s
	}
	if len(u.GoneSubjects)+len(u.Subjects) == 0 {
		return false, nil // most changes: an address of a peer
	}
	changed := map[policy.ObjectKey]bool{}
	for _, pod := range u.GoneSubjects {
		changed[pod] = true
	}
	for _, s := range u.Subjects {
		changed[s.Pod] = true
	}
	var values []bpf.WeirEndpoint
	for _, b := range d.bindings {
		if changed[b.Pod] {
			values = append(values, d.endpointOf(b))
		}
	}
	return d.putEndpoints(values...)
}

// settle returns when no program runs that began before it.
func (d *Datapath) settle() error {
	if err := d.store.Settle(); err != nil {
		return err
	}
	d.unsettled = false
	return nil
}

// deleteGone deletes what the new state does not refer to, once no program
// runs that began under the old one.
func (d *Datapath) deleteGone(u compile.Update) error {
	if len(u.GonePeers)+len(u.GonePrefixes)+len(u.GoneRows) == 0 {
		return nil
	}
	if err := d.settle(); err != nil {
		return err
	}
	return errors.Join(d.removePeers(u.GonePeers), d.removePrefixes(u.GonePrefixes), d.removeRows(u.GoneRows))
}

func (d *Datapath) removePeers(addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	keys := make([]bpf.WeirAddress, len(addrs))
	for i, a := range addrs {
		keys[i] = addressKey(a)
	}
	if _, err := d.store.Remove(bpf.WeirMapPeers, keys); err != nil {
		return err
	}
	for _, a := range addrs {
		delete(d.tables.peers, a.Unmap())
	}
	return nil
}

// removePrefixes gives a barrier class 0, and deletes the others.
func (d *Datapath) removePrefixes(prefixes []netip.Prefix) error {
	var keys []bpf.WeirCidrKey
	var cleared []resolve.PrefixChange
	for _, p := range prefixes {
		if isBarrier(p) {
			cleared = append(cleared, resolve.PrefixChange{Prefix: p})
		} else {
			keys = append(keys, prefixKey(p))
		}
	}
	if err := d.putPrefixes(cleared); err != nil {
		return err
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := d.store.Remove(bpf.WeirMapCidrs, keys); err != nil {
		return err
	}
	for _, p := range prefixes {
		if !isBarrier(p) {
			delete(d.tables.prefixes, p)
		}
	}
	return nil
}
