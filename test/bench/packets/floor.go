// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/floor"
	"github.com/weirnet/weir/test/bench/rig"
)

// floorNames are the programs of test/bench/floor by case.
var floorNames = map[string]string{
	EstablishedOne: floor.FloorProgFloorKnown, EstablishedSome: floor.FloorProgFloorKnown, EstablishedMany: floor.FloorProgFloorKnown,
	New: floor.FloorProgFloorNew, NewEvicting: floor.FloorProgFloorEvicting, DeniedFirst: floor.FloorProgFloorDenied, DeniedRepeat: floor.FloorProgFloorRepeat,
}

// newFloors loads programs that do nothing but the kernel's operations of a
// case, with the maps of a program of weir.
func newFloors(of *ebpf.Program) (floors map[string]runner, err error) {
	floors = map[string]runner{}
	maps := map[string]*ebpf.Map{}
	defer func() {
		for _, m := range maps {
			err = errors.Join(err, m.Close())
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("load the programs that show the floor: %w", err), closeFloors(floors))
		}
	}()
	spec, err := floor.LoadFloor()
	if err != nil {
		return floors, err
	}
	for _, name := range []string{floor.FloorMapFlows, floor.FloorMapFlowsSpill, floor.FloorMapEventsAllowed, floor.FloorMapDrops} {
		if maps[name], err = rig.Map(of, name); err != nil {
			return floors, err
		}
		info, err := maps[name].Info()
		if err != nil {
			return floors, err
		}
		spec.Maps[name].MaxEntries, spec.Maps[name].Flags = info.MaxEntries, info.Flags
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return floors, err
	}
	defer loaded.Close()
	for _, name := range floorNames {
		if _, have := floors[name]; have {
			continue
		}
		program := loaded.DetachProgram(name)
		feeder, err := newFeeder(program)
		if err != nil {
			return floors, errors.Join(err, program.Close())
		}
		floors[name] = runner{name: Floor, program: program, feeder: feeder}
	}
	return floors, nil
}

func closeFloors(floors map[string]runner) error {
	var errs []error
	for _, f := range floors {
		errs = append(errs, f.program.Close(), f.feeder.close())
	}
	return errors.Join(errs...)
}

// lowest is the load of a case for its floor: the packets from the pod.
func (s *stage) lowest(name string, loads [2]load) load {
	l := loads[policy.Egress]
	l.by, l.want, l.unseen = s.floors[floorNames[name]], passed, true
	if l.feed != nil {
		feed := *l.feed
		l.feed = &feed
	}
	return l
}
