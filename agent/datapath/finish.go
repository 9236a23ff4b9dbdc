// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weirnet/weir/bpf"
)

// Finish ends the start of a run. It is called once the first full state of
// policy was applied and every pod of the node that is known is bound: now the
// new programs take the place of those of the run before, in place, and what
// that run left is deleted: rows, classes of addresses, endpoints that nobody
// bound again (their programs are detached), links of interfaces that are
// gone, maps of other layouts. Errors of single interfaces do not stop the
// rest.
func (d *Datapath) Finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return nil
	}
	d.finished = true
	errs := d.takeOver()
	errs = append(errs, d.dropLeft()...)
	if err := d.pinPrograms(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if err := d.store.Settle(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, d.deleteStale(), d.dropPins(), d.dropOtherForwards())
	return errors.Join(errs...)
}

// takeOver gives every bound veth its endpoint and the programs of this run.
func (d *Datapath) takeOver() []error {
	var errs []error
	if err := d.attachForward(); err != nil {
		errs = append(errs, err, d.giveUpForward(err.Error()))
	}
	for ifindex, b := range d.bindings {
		if _, err := d.refresh(ifindex, b); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := d.attach(b); err != nil {
			errs = append(errs, err)
		}
	}
	return append(errs, d.moveEpoch())
}

// dropLeft forgets the veths of the run before that nobody bound again.
func (d *Datapath) dropLeft() []error {
	var errs []error
	for ifindex, r := range d.recovered {
		if d.bindings[ifindex] == nil {
			errs = append(errs, d.forget(ifindex, r.value.Slot))
		}
	}
	clear(d.recovered)
	for ifindex := range d.tables.endpoints {
		if d.bindings[int(ifindex)] == nil { // also of a self test that was killed
			_, err := d.store.Remove(bpf.WeirMapEndpoints, []uint32{ifindex})
			errs = append(errs, err)
			delete(d.tables.endpoints, ifindex)
		}
	}
	var keys []bpf.WeirAddress
	for a, ifindex := range d.tables.local {
		if d.bindings[int(ifindex)] == nil {
			keys = append(keys, addressKey(a))
			delete(d.tables.local, a)
		}
	}
	if len(keys) > 0 {
		_, err := d.store.Remove(bpf.WeirMapLocalIps, keys)
		errs = append(errs, err)
	}
	return errs
}

// deleteStale deletes what the run before wrote and this one did not.
func (d *Datapath) deleteStale() error {
	var peers []netip.Addr
	for a, p := range d.tables.peers {
		if !p.fresh {
			peers = append(peers, a)
		}
	}
	var prefixes []netip.Prefix
	for p, class := range d.tables.prefixes {
		if !class.fresh {
			prefixes = append(prefixes, p)
		}
	}
	rows := d.tables.staleRows
	d.tables.staleRows = nil
	err := errors.Join(d.removePeers(peers), d.removePrefixes(prefixes), d.removeRows(rows))
	if err == nil && len(peers)+len(prefixes) > 0 {
		err = d.moveEpoch()
	}
	return err
}

// pinPrograms puts the programs where other tools find them, and says that the
// tables are complete.
func (d *Datapath) pinPrograms() error {
	dir := filepath.Join(d.opts.PinDir, programsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	for _, hook := range hooks {
		path := filepath.Join(dir, hook.String())
		if err := removePin(path + newSuffix); err != nil {
			return err
		}
		if err := d.program[hook].Pin(path + newSuffix); err != nil {
			return fmt.Errorf("pin %s: %w", hook, err)
		}
		if err := os.Rename(path+newSuffix, path); err != nil {
			return fmt.Errorf("pin %s: %w", hook, err)
		}
	}
	marker := filepath.Join(d.pins.tables, completeMarker)
	if err := os.Mkdir(marker, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("mark the tables as complete: %w", err)
	}
	return nil
}

// dropPins removes maps of other runs, and links and marks of interfaces that
// are not bound.
func (d *Datapath) dropPins() error {
	errs := []error{
		removeOthers(d.opts.PinDir, tablesPrefix, d.pins.tables),
		removeOthers(d.opts.PinDir, flowsPrefix, d.pins.flows),
		removeOthers(d.opts.PinDir, countsPrefix, d.pins.counts),
	}
	for _, ifindex := range pinnedInterfaces(d.opts) {
		if d.bindings[ifindex] == nil {
			errs = append(errs, d.detach(ifindex))
		}
	}
	return errors.Join(errs...)
}

// pinnedInterfaces are those that pins of links or marks of qdiscs name.
func pinnedInterfaces(opts Options) []int {
	seen := map[int]bool{}
	var list []int
	for _, dir := range []string{opts.linksDir(), opts.qdiscDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // never made
		}
		for _, e := range entries {
			number, _, _ := strings.Cut(e.Name(), "-")
			ifindex, err := strconv.Atoi(number)
			if err == nil && !seen[ifindex] {
				seen[ifindex] = true
				list = append(list, ifindex)
			}
		}
	}
	return list
}
