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

// floors are programs of test/bench/floor by case, with the name that they have
// in results.
var floors = []struct {
	name     string
	programs map[string]string
}{
	{Floor, map[string]string{
		EstablishedOne: floor.FloorProgFloorKnown, EstablishedSome: floor.FloorProgFloorKnown, EstablishedMany: floor.FloorProgFloorKnown,
		New: floor.FloorProgFloorNew, NewEvicting: floor.FloorProgFloorEvicting, DeniedFirst: floor.FloorProgFloorDenied, DeniedRepeat: floor.FloorProgFloorRepeat,
	}},
	{RuledFloor, map[string]string{
		New: floor.FloorProgFloorNewRuled, NewEvicting: floor.FloorProgFloorEvictingRuled, DeniedFirst: floor.FloorProgFloorDeniedRuled,
	}},
}

// newFloors loads programs that do nothing but the kernel's operations of a
// case, with the maps of a program of weir.
func newFloors(of *ebpf.Program) (runners map[string]runner, err error) {
	runners = map[string]runner{}
	maps := map[string]*ebpf.Map{}
	defer func() {
		for _, m := range maps {
			err = errors.Join(err, m.Close())
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("load the programs that show the floor: %w", err), closeFloors(runners))
		}
	}()
	spec, err := floor.LoadFloor()
	if err != nil {
		return runners, err
	}
	for name := range spec.Maps {
		if maps[name], err = rig.Map(of, name); err != nil {
			return runners, err
		}
		info, err := maps[name].Info()
		if err != nil {
			return runners, err
		}
		spec.Maps[name].MaxEntries, spec.Maps[name].Flags = info.MaxEntries, info.Flags
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return runners, err
	}
	defer loaded.Close()
	for _, f := range floors {
		for _, name := range f.programs {
			if _, have := runners[name]; have {
				continue
			}
			program := loaded.DetachProgram(name)
			feeder, err := newFeeder(program)
			if err != nil {
				return runners, errors.Join(err, program.Close())
			}
			runners[name] = runner{name: f.name, program: program, feeder: feeder}
		}
	}
	return runners, nil
}

func closeFloors(runners map[string]runner) error {
	var errs []error
	for _, f := range runners {
		errs = append(errs, f.program.Close(), f.feeder.close())
	}
	return errors.Join(errs...)
}

// lowest are the loads of a case for its floors: the packets from the pod.
func (s *stage) lowest(name string, loads [2]load) []load {
	var lowest []load
	for _, f := range floors {
		program, have := f.programs[name]
		if !have {
			continue
		}
		l := loads[policy.Egress]
		l.by, l.want, l.unseen = s.floors[program], passed, true
		if l.feed != nil {
			feed := *l.feed
			l.feed = &feed
		}
		lowest = append(lowest, l)
	}
	return lowest
}
