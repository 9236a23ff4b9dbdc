// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/weirnet/weir/bpf"
)

// leftFlows is a table of flows of another layout: another build wrote it, or
// this one with other sizes.
type leftFlows struct {
	table      *ebpf.Map
	key, value relayout
	first      int    // where a value holds its field first
	into       string // the map that takes its entries
}

// carrier takes over the entries of bound pods that this run's tables lack. One
// pass before the programs change places takes the bulk, the others what began
// since, the last of them when no program makes entries there any more. An
// entry of this run's programs is newer, and stays.
type carrier struct {
	d     *Datapath
	left  []leftFlows
	again bool              // there was a pass
	since uint32            // ticks: entries from before were met by it
	room  map[uint32]uint64 // slot -> entries that it may still make
	made  map[uint32]uint64 // slot -> entries made in flows
}

func (d *Datapath) newCarrier() *carrier { return &carrier{d: d, left: d.openLeftFlows()} }

func (c *carrier) close() {
	for _, l := range c.left {
		l.table.Close()
	}
}

// openLeftFlows opens what runs before used and this one does not. A table that
// cannot be read is warned of and left out.
func (d *Datapath) openLeftFlows() []leftFlows {
	dirs, err := filepath.Glob(filepath.Join(d.opts.PinDir, flowsPrefix+"*"))
	if err != nil {
		d.log.Warn("flows of an earlier agent cannot be listed", "error", err)
	}
	var left []leftFlows
	for _, dir := range dirs {
		if dir == d.pins.flows {
			continue
		}
		if !strings.HasPrefix(filepath.Base(dir), fmt.Sprintf("%s%d-", flowsPrefix, format)) {
			d.warnNotCarried(dir, errors.New("its fields have other meanings"))
			continue
		}
		for _, name := range []string{bpf.WeirMapFlows, bpf.WeirMapFlowsSpill} {
			l, err := openLeft(filepath.Join(dir, name), d.spec.Maps[name])
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				d.warnNotCarried(dir, err)
				continue
			}
			left = append(left, l)
		}
	}
	return left
}

func (d *Datapath) warnNotCarried(table string, err error) {
	d.log.Warn("open flows of an earlier agent are not known to this one; answers to them may be dropped until the pod sends again",
		"pins", table, "error", err)
}

func openLeft(path string, spec *ebpf.MapSpec) (leftFlows, error) {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return leftFlows{}, err
	}
	l := leftFlows{table: m, into: spec.Name}
	if l.key, l.value, err = relayoutsOf(m, spec); err != nil {
		return leftFlows{}, errors.Join(err, m.Close())
	}
	if lacks := slices.Concat(l.key.lacks, slices.DeleteFunc(l.value.lacks, func(f string) bool { return !decides(f) })); len(lacks) > 0 {
		return leftFlows{}, errors.Join(fmt.Errorf("entries of %s have no %s", path, strings.Join(lacks, ", ")), m.Close())
	}
	l.first = l.value.offset("first")
	return l, nil
}

// decides: an entry without the field would be another verdict.
func decides(field string) bool {
	return slices.Contains([]string{"first", "last_tx", "last_rx", "epoch", "initiator", "verdict", "reason", "flags", "tcp_tx", "tcp_rx", "tag"}, field)
}

// pass walks all tables once.
func (c *carrier) pass() error {
	if len(c.left) == 0 {
		return nil
	}
	clock, err := c.d.Clock()
	if err != nil {
		return fmt.Errorf("carry flows over: %w", err)
	}
	c.room, c.made = map[uint32]uint64{}, map[uint32]uint64{}
	for _, b := range c.d.bindings {
		if c.room[b.slot], err = c.d.roomOf(b.slot); err != nil {
			return err
		}
	}
	var errs []error
	for _, l := range c.left {
		if err := c.table(l); err != nil {
			errs = append(errs, fmt.Errorf("carry flows over: %w", err))
		}
	}
	c.again, c.since = true, clock.Ticks-clock.PerSecond // a second for what was being entered
	return errors.Join(append(errs, c.charge())...)
}

func (c *carrier) table(l leftFlows) error {
	return eachEntry(l.table, func(key, value []byte) error {
		if c.again && int32(binary.NativeEndian.Uint32(value[l.first:])-c.since) < 0 {
			return nil
		}
		var r FlowRecord
		if err := l.key.decode(key, &r.Key); err != nil {
			return err
		}
		b := c.d.bindings[int(r.Key.Ifindex)]
		if b == nil || !b.sends(r.Key.Local) {
			return nil // of a pod that has gone
		}
		if err := l.value.decode(value, &r.Flow); err != nil {
			return err
		}
		return c.put(b.slot, l.into, r)
	})
}

// sends: the number of a veth and the address may both be another pod's by now,
// but not the two together.
func (b *binding) sends(local [16]uint8) bool {
	return b.Forwards || slices.Contains(b.Addrs, addressOf(bpf.WeirAddress{Bytes: local}))
}

// put is flow_insert of flowtable.h, which is called for what no table has.
func (c *carrier) put(slot uint32, into string, r FlowRecord) error {
	var known bpf.WeirFlow
	err := c.d.maps[bpf.WeirMapFlows].Lookup(r.Key, &known)
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	if into == bpf.WeirMapFlows && c.room[slot] > 0 {
		err := c.d.maps[into].Update(r.Key, r.Flow, ebpf.UpdateNoExist)
		if err == nil {
			c.room[slot]--
			c.made[slot]++
		}
		if err == nil || errors.Is(err, ebpf.ErrKeyExist) {
			return nil
		}
		if !noRoom(err) {
			return err
		}
	}
	if err := c.d.maps[bpf.WeirMapFlowUsage].Put(uint32(spillSlot), uint64(1)); err != nil { // before the entry
		return err
	}
	err = c.d.maps[bpf.WeirMapFlowsSpill].Update(r.Key, r.Flow, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return nil
	}
	return err
}

// charge takes what was made off the limits, which programs only read; their
// count of entries they alone may write.
func (c *carrier) charge() error {
	var errs []error
	limits := c.d.maps[bpf.WeirMapFlowLimit]
	for slot, n := range c.made {
		var limit uint64
		err := limits.Lookup(slot, &limit)
		if err == nil {
			err = limits.Put(slot, limit-min(n, limit))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write flow limit: %w", err))
		}
	}
	return errors.Join(errs...)
}

// roomOf is how many entries a slot may still make.
func (d *Datapath) roomOf(slot uint32) (uint64, error) {
	used, err := d.usageOf(slot)
	if err != nil {
		return 0, err
	}
	var limit uint64
	if err := d.maps[bpf.WeirMapFlowLimit].Lookup(slot, &limit); err != nil {
		return 0, fmt.Errorf("read flow limit: %w", err)
	}
	return limit - min(used, limit), nil
}

// eachEntry walks a map whose types only its own description knows.
func eachEntry(m *ebpf.Map, f func(key, value []byte) error) error {
	slice := func(size uint32) reflect.Value {
		return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(size), reflect.TypeFor[byte]())), chunk, chunk)
	}
	keys, values := slice(m.KeySize()), slice(m.ValueSize())
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys.Interface(), values.Interface(), nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return eachEntrySingly(m, f)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("walk %s: %w", m, err)
		}
		for i := range n {
			if err := f(keys.Index(i).Bytes(), values.Index(i).Bytes()); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // that was the last batch
		}
	}
}

func eachEntrySingly(m *ebpf.Map, f func(key, value []byte) error) error {
	var key, value []byte
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		if err := f(key, value); err != nil {
			return err
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) { // what was not reached is met by the next pass
		return fmt.Errorf("walk %s: %w", m, err)
	}
	return nil
}

// relayout copies the fields that two layouts of a struct have by one name.
type relayout struct {
	fields []fieldCopy
	size   int      // of the copy
	lacks  []string // fields that the source has not
}

type fieldCopy struct {
	name           string
	from, to, size int
}

// offset of a field that the source has.
func (r relayout) offset(name string) int {
	return r.fields[slices.IndexFunc(r.fields, func(f fieldCopy) bool { return f.name == name })].from
}

// relayoutsOf compares the key and value of a map, as its own BTF tells them,
// with those of a spec.
func relayoutsOf(m *ebpf.Map, spec *ebpf.MapSpec) (key, value relayout, err error) {
	handle, err := m.Handle()
	if err != nil {
		return key, value, fmt.Errorf("read the types of %s: %w", m, err)
	}
	defer handle.Close()
	types, err := handle.Spec(nil)
	if err != nil {
		return key, value, fmt.Errorf("read the types of %s: %w", m, err)
	}
	if key, err = relayoutOf(types, spec.Key, m.KeySize()); err != nil {
		return key, value, err
	}
	value, err = relayoutOf(types, spec.Value, m.ValueSize())
	return key, value, err
}

func relayoutOf(types *btf.Spec, ours btf.Type, size uint32) (relayout, error) {
	name := ours.TypeName()
	var theirs *btf.Struct
	if err := types.TypeByName(name, &theirs); err != nil {
		return relayout{}, fmt.Errorf("read struct %s: %w", name, err)
	}
	if theirs.Size != size {
		return relayout{}, fmt.Errorf("struct %s has %d bytes and the table's entries %d", name, theirs.Size, size)
	}
	to, ok := btf.UnderlyingType(ours).(*btf.Struct)
	if !ok {
		return relayout{}, fmt.Errorf("%s is no struct", name)
	}
	r := relayout{size: int(to.Size)}
	from := map[string]btf.Member{}
	for _, m := range theirs.Members {
		from[m.Name] = m
	}
	for _, m := range to.Members {
		old, ok := from[m.Name]
		if m.Name == "pad" {
			continue
		}
		if !ok {
			r.lacks = append(r.lacks, m.Name)
			continue
		}
		if shape(m.Type) != shape(old.Type) {
			return relayout{}, fmt.Errorf("field %s of struct %s has another type", m.Name, name)
		}
		n, err := btf.Sizeof(m.Type)
		if err != nil {
			return relayout{}, fmt.Errorf("field %s of struct %s: %w", m.Name, name, err)
		}
		r.fields = append(r.fields, fieldCopy{name: m.Name, from: int(old.Offset.Bytes()), to: int(m.Offset.Bytes()), size: n})
	}
	return r, nil
}

// decode reads an entry of the source into a struct of ours; what the source
// lacks is zero.
func (r relayout) decode(from []byte, to any) error {
	buf := make([]byte, r.size)
	for _, f := range r.fields {
		copy(buf[f.to:f.to+f.size], from[f.from:])
	}
	_, err := binary.Decode(buf, binary.NativeEndian, to)
	return err
}
