// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weirnet/weir/bpf"
)

// Finish ends the start of a run. It is called once the first full state of
// policy was applied and every pod of the node that is known is bound: now the
// new programs take the place of those of the run before, in place, and what
// that run left is deleted: its tables, programs on veths that nobody bound
// again, links of interfaces that are gone, flows (once they are carried over)
// and counts of other layouts. Errors of single interfaces do not stop the
// rest. If the endpoints cannot be written, it returns ErrNotFinished: all stays
// with the run before, and Finish may be called again.
func (d *Datapath) Finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return nil
	}
	flows := d.newCarrier()
	defer flows.close()
	errs := []error{flows.pass()}
	if err := d.endHandover(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, d.takeOver(flows)...)
	errs = append(errs, d.dropLeft()...)
	if err := d.pinPrograms(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if err := d.settle(); err != nil { // programs of the run before may still pass on trust, and make entries
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, flows.pass(), d.dropPins(), d.dropOtherForwards())
	return errors.Join(errs...)
}

// endHandover has both programs behind translation judge every bound veth, so
// that there is no instant at which none does.
func (d *Datapath) endHandover() error {
	d.finished = true
	var values []bpf.WeirEndpoint
	for _, b := range d.bindings {
		values = append(values, d.endpointOf(b))
	}
	_, err := d.putEndpoints(values...)
	if err != nil {
		d.finished = false
		return fmt.Errorf("%w: %w", ErrNotFinished, err)
	}
	return nil
}

// takeOver gives every bound veth the programs of this run. To let go of the
// other program behind translation takes the kernel a while, in which flows
// begin; they are carried over before the pods' programs follow at once.
func (d *Datapath) takeOver(flows *carrier) []error {
	var errs []error
	if err := d.attachForward(); err != nil {
		errs = append(errs, err, d.giveUpForward(err.Error()))
	}
	errs = append(errs, flows.pass())
	for _, b := range d.bindings {
		errs = append(errs, d.attach(b))
	}
	return append(errs, flows.pass(), d.moveEpoch())
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
	return errs
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
