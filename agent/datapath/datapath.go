// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
)

const loopback = 1 // its ifindex, in every network namespace

// Datapath is what one agent holds in the kernel. Its methods may be called
// from several goroutines.
type Datapath struct {
	opts    Options
	log     *slog.Logger
	lock    *os.File
	spec    *ebpf.CollectionSpec // with sizes and settings, for the second copies
	maps    map[string]*ebpf.Map
	program [len(hooks)]*ebpf.Program
	ticker  *ticker
	store   store
	hook    attacher // what programs are attached by
	other   attacher // what an earlier agent may have attached by; nil if it cannot
	forward forward
	kernel  release
	// conntrack says why programs cannot ask the kernel's connection tracking;
	// nil: they can. Finding out means reading the kernel's BTF, so it is kept.
	conntrack error
	pins      pinState

	spareMu sync.Mutex
	spare   [len(hooks)]*ebpf.Program

	ringMu  sync.Mutex
	readers [bpf.WeirRingRING_COUNT]*ringbuf.Reader // while Events runs

	mu        sync.Mutex // all below
	tables    tables
	raised    [markCount]uint64 // the marks that are in the kernel at least
	bindings  map[int]*binding  // by ifindex
	subjects  map[policy.ObjectKey]compile.SubjectSets
	recovered map[int]Recovered
	departed  map[int]uint32 // ifindex -> slot, until its flows are swept
	slots     slotPool
	pending   compile.Update // what found no room
	unsettled bool           // a program may still judge by a set that an endpoint had
	finished  bool
	swept     sweepTotals
	callers   callers                      // of the last sweep; nil before
	ownCounts map[countKey]bpf.WeirTraffic // self-test packets within Counters

	eventMu   sync.Mutex                     // held while a packet of the self test is on its way
	ownEvents [bpf.WeirRingRING_COUNT]uint64 // of such packets, within Lost

	sweepMu sync.Mutex // one pass at a time
}

// pinState is which directories this run uses.
type pinState struct {
	tables, flows, counts string
}

// binding is a bound veth.
type binding struct {
	Binding
	slot     uint32
	handover bool // until Finish the programs of the run before judge it
}

// countKey is an index into the totals.
type countKey struct {
	direction policy.Direction
	reason    bpf.WeirReason
}

// Recovered is what the pins of the run before say of a veth. A binding of
// addresses holds for the veth's life, across agents.
type Recovered struct {
	Ifindex int
	Addrs   []netip.Addr
	value   bpf.WeirEndpoint
}

// Close lets go of all handles and of the lock. Programs, links and maps stay
// in the kernel and go on working.
func (d *Datapath) Close() error {
	var errs []error
	for _, p := range d.program {
		errs = append(errs, p.Close())
	}
	errs = append(errs, d.forward.program.Close())
	d.spareMu.Lock()
	for _, p := range d.spare {
		errs = append(errs, p.Close())
	}
	d.spareMu.Unlock()
	errs = append(errs, closeMaps(d.maps))
	if d.ticker != nil {
		errs = append(errs, d.ticker.close())
	}
	if s, ok := d.store.(*kernelStore); ok {
		errs = append(errs, s.close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// Sizes are the capacities in use.
func (d *Datapath) Sizes() Sizes { return d.opts.Sizes }

func (d *Datapath) pair(hook Hook) programPair {
	return programPair{main: d.program[hook], spare: func() (*ebpf.Program, error) { return d.spareOf(hook) }}
}

func (o Options) linksDir() string { return filepath.Join(o.PinDir, linksDir) }

func (o Options) qdiscDir() string { return filepath.Join(o.PinDir, qdiscMarker) }

func nodeRoot() fs.FS { return os.DirFS("/") }
