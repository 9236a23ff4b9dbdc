// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
)

// Load checks what weir needs, takes the node's lock, and loads programs and
// maps, those of the run before where their layout agrees. It attaches
// nothing: programs of a run before go on working until Finish.
func Load(opts Options, log *slog.Logger) (*Datapath, error) {
	opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("options of the data path: %w", err)
	}
	kernel, err := kernelRelease()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(kernel.check(), checkCapabilities()); err != nil {
		return nil, err
	}
	memory, err := Memory(nodeRoot())
	if err != nil {
		return nil, err
	}
	opts.Sizes = opts.Sizes.Fill(memory)
	lock, err := takeLock(opts.LockPath)
	if err != nil {
		return nil, err
	}
	d := &Datapath{
		opts: opts, log: log, lock: lock, kernel: kernel,
		maps: map[string]*ebpf.Map{}, bindings: map[int]*binding{},
		subjects: map[policy.ObjectKey]compile.SubjectSets{}, recovered: map[int]Recovered{},
		departed: map[int]uint32{}, ownCounts: map[countKey]bpf.WeirTraffic{},
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Datapath) load() error {
	if err := ensureBPFFS(d.opts.PinDir, d.log); err != nil {
		return err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit on locked memory (before 5.11 it counts maps): %w; give the agent CAP_SYS_RESOURCE", err)
	}
	if err := d.chooseHook(); err != nil {
		return err
	}
	if err := d.chooseForward(); err != nil {
		return err
	}
	var err error
	if d.ticker, err = newTicker(); err != nil {
		return err
	}
	if err := d.ticker.measure(); err != nil {
		return err
	}
	if d.spec, err = d.makeSpec(); err != nil {
		return err
	}
	if err := d.openMaps(); err != nil {
		return err
	}
	if d.program, d.forward.program, err = d.loadPrograms(); err != nil {
		return err
	}
	d.forward.place = d.opts.forwarders()[d.forward.kind]
	store, err := newKernelStore(d.maps)
	if err != nil {
		return err
	}
	d.store = store
	return d.recover()
}

// chooseHook takes TCX where the kernel has it.
func (d *Datapath) chooseHook() error {
	t, c := tcx{dir: d.opts.linksDir()}, clsact{dir: d.opts.qdiscDir()}
	have := haveTCX()
	switch {
	case d.opts.Attach == AttachTCX && !have:
		return fmt.Errorf("attach by TCX: kernel %s has none (6.6 and later do); use --attach=auto", d.kernel.text)
	case d.opts.Attach == AttachClsact && have:
		d.hook, d.other = c, t
	case have:
		d.hook, d.other = t, c
	default:
		d.hook = c
	}
	for _, dir := range []string{t.dir, c.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make pin directory: %w", err)
		}
	}
	return nil
}

// makeSpec is the object with this run's sizes and settings.
func (d *Datapath) makeSpec() (*ebpf.CollectionSpec, error) {
	d.conntrack = bpf.ConntrackLookup()
	spec, err := bpf.LoadWeir()
	if err != nil {
		return nil, fmt.Errorf("read the embedded object: %w", err)
	}
	if err := d.opts.Sizes.apply(spec); err != nil {
		return nil, err
	}
	settings := map[string]any{
		bpf.WeirVarTicksPerSecond:  d.ticker.rate,
		bpf.WeirVarRecheckExisting: !d.opts.KeepExisting,
		bpf.WeirVarMidstreamStrict: d.opts.MidstreamStrict,
		bpf.WeirVarSourceCheck:     !d.opts.SkipSourceCheck,
		bpf.WeirVarHaveForwardHook: d.forward.kind != ForwardNone,
		bpf.WeirVarHaveConntrack:   d.conntrack == nil,
	}
	for name, value := range settings {
		v := spec.Variables[name]
		if v == nil {
			return nil, fmt.Errorf("set %s: the object has no such variable", name)
		}
		if err := v.Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return spec, nil
}

func (d *Datapath) openMaps() error {
	if err := openGroup(d.spec, d.opts.PinDir, foreverMaps, d.maps); err != nil {
		return err
	}
	for prefix, group := range map[string]struct {
		names []string
		dir   *string
	}{flowsPrefix: {flowMaps, &d.pins.flows}, countsPrefix: {countMaps, &d.pins.counts}} {
		hash, err := layout(d.spec, group.names)
		if err != nil {
			return err
		}
		*group.dir = filepath.Join(d.opts.PinDir, prefix+hash)
		if err := openGroup(d.spec, *group.dir, group.names, d.maps); err != nil {
			return err
		}
	}
	return d.openTables()
}

// loadPrograms loads the programs of this run onto the open maps; the last is
// the one that judges after translation, nil if there is none.
func (d *Datapath) loadPrograms() (programs [len(hooks)]*ebpf.Program, after *ebpf.Program, err error) {
	replacements := make(map[string]*ebpf.Map, len(d.maps))
	for name, m := range d.maps {
		replacements[name] = m
	}
	spec, name := d.spec.Copy(), d.forward.kind.programName()
	program := spec.Programs[name]
	bpf.WithoutForward(spec)
	if program != nil {
		spec.Programs[name] = program
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return programs, nil, fmt.Errorf("load the programs into kernel %s: %w", d.kernel.text, err)
	}
	defer collection.Close()
	for _, hook := range hooks {
		programs[hook] = collection.DetachProgram(hook.String())
		if programs[hook] == nil {
			return programs, nil, fmt.Errorf("load %s: not in the object", hook)
		}
	}
	if after = collection.DetachProgram(name); after == nil && name != "" {
		return programs, nil, fmt.Errorf("load %s: not in the object", name)
	}
	return programs, after, nil
}

func (d *Datapath) spareOf(hook Hook) (*ebpf.Program, error) {
	d.spareMu.Lock()
	defer d.spareMu.Unlock()
	if d.spare[hook] == nil {
		programs, after, err := d.loadPrograms()
		if err != nil {
			return nil, err
		}
		if err := after.Close(); err != nil {
			return nil, fmt.Errorf("close the spare of %s: %w", d.forward.kind.programName(), err)
		}
		d.spare = programs
	}
	return d.spare[hook], nil
}

// forgetSpares makes the next spares be loaded anew. Those on a hook stay there.
func (d *Datapath) forgetSpares() {
	d.spareMu.Lock()
	defer d.spareMu.Unlock()
	for hook, p := range d.spare {
		_ = p.Close() // an fd alone
		d.spare[hook] = nil
	}
}
