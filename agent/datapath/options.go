// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/bpf"
)

// AttachKind says through what the programs are attached.
type AttachKind string

const (
	AttachAuto   AttachKind = "auto"   // TCX where the kernel has it (6.6), else clsact
	AttachTCX    AttachKind = "tcx"    // TCX or an error
	AttachClsact AttachKind = "clsact" // a clsact qdisc and filters
)

// Options of the data path. The zero value is safe; Defaults fills what is
// empty.
type Options struct {
	// PinDir lies in a BPF file system, one per node.
	PinDir string
	// LockPath is an ordinary file. It keeps a second agent out: the BPF file
	// system has no locks. In a container both this and PinDir are mounted
	// from the node, or the lock holds against nobody.
	LockPath string
	Attach   AttachKind
	// Forward is what judges packets after translation.
	Forward ForwardKind
	// Sizes of the maps, in entries; 0: from the machine's memory (Sizes.Fill).
	Sizes Sizes
	// ExpectedPods divides the flow table: each endpoint is sure of
	// max(1024, Sizes.Flows/ExpectedPods) entries, as long as no more than
	// Sizes.Flows/share endpoints are bound.
	ExpectedPods uint32
	// KeepExisting: live connections outlive a policy change that would deny
	// them (--existing-connections=keep).
	KeepExisting bool
	// MidstreamStrict: no TCP is taken up in the middle but by the kernel's
	// conntrack (--midstream=strict).
	MidstreamStrict bool
	// SkipSourceCheck turns the spoofing and overlay defence off.
	SkipSourceCheck bool
	// Unready is the mode of an endpoint whose policy is not complete:
	// MODE_NOT_READY (the zero value) denies, MODE_NOT_READY_OPEN allows.
	Unready bpf.WeirMode
	// TCPIdle is how long an open TCP connection may be silent before Sweep
	// forgets it. Without a limit, connections whose ends both vanished would
	// fill an endpoint's share for ever.
	TCPIdle time.Duration
	// Poll is how often Events looks into the rings without being woken.
	Poll time.Duration
}

// Defaults fills fields that are empty. Sizes stay as they are: Load fills
// them, and says with what.
func (o *Options) Defaults() {
	if o.PinDir == "" {
		o.PinDir = "/sys/fs/bpf/weir"
	}
	if o.LockPath == "" {
		o.LockPath = "/run/weir/datapath.lock"
	}
	if o.Attach == "" {
		o.Attach = AttachAuto
	}
	if o.Forward == "" {
		o.Forward = ForwardAuto
	}
	if o.ExpectedPods == 0 {
		o.ExpectedPods = 110 // the kubelet's own default of pods per node
	}
	if o.TCPIdle == 0 {
		o.TCPIdle = 5 * 24 * time.Hour // what Linux conntrack grants
	}
	if o.Poll == 0 {
		o.Poll = 75 * time.Millisecond
	}
}

// Validate reports every bad field at once.
func (o *Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !filepath.IsAbs(o.PinDir) {
		bad("pin directory %q: not an absolute path", o.PinDir)
	}
	if !filepath.IsAbs(o.LockPath) {
		bad("lock file %q: not an absolute path", o.LockPath)
	}
	switch o.Attach {
	case AttachAuto, AttachTCX, AttachClsact:
	default:
		bad("attach %q: want auto, tcx or clsact", o.Attach)
	}
	switch o.Forward {
	case ForwardAuto, ForwardNetfilter, ForwardXtables, ForwardNone:
	default:
		bad("forward hook %q: want auto, netfilter, xtables or none", o.Forward)
	}
	switch o.Unready {
	case bpf.WeirModeMODE_NOT_READY, bpf.WeirModeMODE_NOT_READY_OPEN:
	default:
		bad("unready mode %d: want MODE_NOT_READY or MODE_NOT_READY_OPEN", o.Unready)
	}
	if o.TCPIdle < 5*time.Minute || o.TCPIdle > 20*24*time.Hour {
		// Ticks are 32 bits compared by difference: 24.8 days at 1000 Hz.
		bad("idle TCP limit %s: want 5m to 480h", o.TCPIdle)
	}
	if o.Poll < 10*time.Millisecond || o.Poll > time.Second {
		bad("poll interval %s: want 10ms to 1s", o.Poll)
	}
	errs = append(errs, o.Sizes.validate())
	return errors.Join(errs...)
}
