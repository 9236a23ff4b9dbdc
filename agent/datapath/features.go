// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Feature is something of the kernel that weir uses if it is there.
type Feature struct {
	Name  string
	InUse bool
	Note  string // what is used instead, and what would be needed
}

// Kernel is the kernel's release, as uname gives it.
func (d *Datapath) Kernel() string { return d.kernel.text }

// Features lists what is in use and why it is not better.
func (d *Datapath) Features() []Feature {
	return []Feature{
		d.tcxFeature(),
		d.batchFeature(),
		d.takeFeature(),
		d.conntrackFeature(),
		inspectFeature(),
		d.forwardFeature(),
		d.memoryFeature(),
	}
}

func (d *Datapath) tcxFeature() Feature {
	f := Feature{Name: "TCX"}
	_, f.InUse = d.hook.(tcx)
	switch {
	case f.InUse:
	case d.other != nil:
		f.Note = "clsact filters are used: --attach=clsact; programs of others on TCX run before them"
	default:
		f.Note = fmt.Sprintf("clsact filters are used: kernel %s has no TCX (6.6)", d.kernel.text)
	}
	return f
}

func (d *Datapath) batchFeature() Feature {
	f := Feature{Name: "batched map writes", InUse: true}
	if s, ok := d.store.(*kernelStore); ok && s.singles.Load() {
		f.InUse = false
		f.Note = "some maps are written entry by entry: the kernel has no batches for them (hash 5.6, LPM trie 5.13)"
	}
	return f
}

func (d *Datapath) takeFeature() Feature {
	if d.kernel.atLeast(5, 14) {
		return Feature{Name: "lookup and delete in one step", InUse: true}
	}
	return Feature{Name: "lookup and delete in one step", Note: "two steps are used: the last counters of a flow may miss a packet (5.14)"}
}

func (d *Datapath) conntrackFeature() Feature {
	f := Feature{Name: "conntrack lookup"}
	if err := d.conntrack; err != nil {
		f.Note = err.Error() + "; connections older than the agent are taken up by policy alone"
		return f
	}
	f.InUse = true
	return f
}

func inspectFeature() Feature {
	f := Feature{Name: "inspection of others' programs"}
	have, err := effectiveCapabilities()
	if err == nil && !has(have, unix.CAP_SYS_ADMIN) {
		f.Note = "CAP_SYS_ADMIN is missing: neighbours have no names, and data planes that redirect past the veth are not found by their programs"
		return f
	}
	if _, err := redirectCall(); err != nil {
		f.Note = err.Error()
		return f
	}
	f.InUse = true
	return f
}

func (d *Datapath) memoryFeature() Feature {
	f := Feature{Name: "memory of maps charged to the cgroup"}
	if d.kernel.atLeast(5, 11) {
		f.InUse = true
		return f
	}
	f.Note = "it counts as locked memory of the process; the limit was lifted (5.11)"
	return f
}
