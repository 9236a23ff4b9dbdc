// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/rig"
)

// Forward is the name, in results, of the program behind translation.
const Forward = "forward"

const sizeEthernet = 14

// newForward finds the program behind translation that has the flow table of
// another one: the rig has attached it.
func newForward(beside *ebpf.Program) (*ebpf.Program, error) {
	flows, err := rig.Map(beside, bpf.WeirMapFlows)
	if err != nil {
		return nil, err
	}
	defer flows.Close()
	info, err := flows.Info()
	if err != nil {
		return nil, err
	}
	table, _ := info.ID()
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			break
		}
		found, err := usesMap(id, table)
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("no program %s uses the flow table %d: %w", bpf.WeirProgForward, table, err)
}

// usesMap returns the program if it is forward and uses the map, else nil.
func usesMap(id ebpf.ProgramID, table ebpf.MapID) (*ebpf.Program, error) {
	program, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, err
	}
	info, err := program.Info()
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	if maps, _ := info.MapIDs(); info.Name == bpf.WeirProgForward && slices.Contains(maps, table) {
		return program, nil
	}
	return nil, program.Close()
}

// newEmptyForward accepts.
func newEmptyForward() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty_forward", Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(accepted)), asm.Return()},
	})
}

// forwarded is the load of one flow behind translation, where nobody has
// translated it: the packets from the pod, from the network header on.
func (s *stage) forwarded(loads [2]load) load {
	l := loads[policy.Egress]
	l.by, l.empty, l.want, l.unseen = runner{name: Forward, program: s.forward}, s.emptyForward, accepted, true
	l.frame, l.bare = l.frame[sizeEthernet:], true
	return l
}
