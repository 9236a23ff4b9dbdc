// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// revision tells the programs that a table was written: what they have ruled
// by the tables before holds no more (bpf/src/denials.h). It is written through
// the map's memory, not by a system call: there is one for each write.
type revision struct {
	memory *ebpf.Memory
	moved  atomic.Uint32
}

func newRevision(m *ebpf.Map) (*revision, error) {
	memory, err := m.Memory()
	if err != nil {
		return nil, fmt.Errorf("map the memory of %s: %w", m, err)
	}
	r := &revision{memory: memory}
	return r, r.move()
}

// move is called behind the write that it tells of. Never to 0, which says that
// there is no revision yet. Of two at once either may be written last: each
// value is written once, so one that is gone never comes back.
func (r *revision) move() error {
	n := r.moved.Add(1)
	if n == 0 {
		n = r.moved.Add(1)
	}
	if _, err := r.memory.WriteAt(binary.NativeEndian.AppendUint32(nil, n), 0); err != nil {
		return fmt.Errorf("tell the programs that tables were written: %w", err)
	}
	return nil
}
