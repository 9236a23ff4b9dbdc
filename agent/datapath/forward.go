// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/bpf"
)

// ForwardKind says what judges packets after destination NAT.
type ForwardKind string

const (
	// ForwardAuto is netfilter where the kernel has it, else xtables; none
	// beside IPVS, and where neither works.
	ForwardAuto ForwardKind = "auto"
	// ForwardNetfilter is a BPF program on the hook itself (6.4), or an error.
	ForwardNetfilter ForwardKind = "netfilter"
	// ForwardXtables is the match of xt_bpf in a table of weir's own, or an
	// error.
	ForwardXtables ForwardKind = "xtables"
	// ForwardNone: pods that are isolated for egress reach no Service address
	// and no translated port of the node.
	ForwardNone ForwardKind = "none"
)

// forwardPriority is just behind the filter tables (0): a pod that calls a
// Service without backends gets kube-proxy's refusal at once, and what the
// node's firewall drops is not reported as allowed. Their accept ends no other
// hook. Replacements need a priority of their own while both are attached: the
// kernel refuses two programs at one.
const forwardPriority = 1

// forwarder is a place for the program, for IPv4 and IPv6.
type forwarder interface {
	// Attach puts the program there in the place of one of a run before, or
	// beside it; at no instant is there none. It is no error to repeat it.
	Attach(program *ebpf.Program, beside bool) error
	// Attached says whether this very program is in place for both families.
	Attached(*ebpf.Program) (bool, error)
	// Detach is no error where nothing is attached.
	Detach() error
}

// forward is what this run uses.
type forward struct {
	kind    ForwardKind // never auto
	why     string      // not better
	place   forwarder   // nil: none
	program *ebpf.Program
}

func (o Options) forwarders() map[ForwardKind]forwarder {
	return map[ForwardKind]forwarder{
		ForwardNetfilter: netfilterLinks{dir: o.linksDir()},
		ForwardXtables:   matchRules{},
	}
}

// programName is empty for none.
func (k ForwardKind) programName() string {
	switch k {
	case ForwardNetfilter:
		return bpf.WeirProgForward
	case ForwardXtables:
		return bpf.WeirProgForwardMatch
	}
	return ""
}

// chooseForward decides before the programs are loaded: from_pod passes on
// trust what this judges.
func (d *Datapath) chooseForward() error {
	if d.opts.Forward == ForwardNone {
		d.forward = forward{kind: ForwardNone, why: "--forward-hook=none"}
		return nil
	}
	ipvs, err := findIPVS()
	if err != nil {
		return err
	}
	if ipvs != "" {
		if d.opts.Forward != ForwardAuto {
			return fmt.Errorf("--forward-hook=%s: %s; use auto or none", d.opts.Forward, ipvs)
		}
		d.forward = forward{kind: ForwardNone, why: ipvs}
		return nil
	}
	lacks := bpf.NetfilterPrograms()
	switch {
	case d.opts.Forward == ForwardXtables:
		return d.tryMatch("--forward-hook=xtables")
	case lacks == nil:
		d.forward = forward{kind: ForwardNetfilter}
		return nil
	case d.opts.Forward == ForwardNetfilter:
		return fmt.Errorf("--forward-hook=netfilter: kernel %s: %w; use auto", d.kernel.text, lacks)
	}
	if err := d.tryMatch(lacks.Error()); err != nil {
		d.forward = forward{kind: ForwardNone, why: fmt.Sprintf("%v; %v", lacks, err)}
	}
	return nil
}

func (d *Datapath) tryMatch(why string) error {
	if err := probeMatch(); err != nil {
		return fmt.Errorf("the match of xt_bpf cannot be used on kernel %s: %w; load its modules nf_tables, nft_compat and xt_bpf", d.kernel.text, err)
	}
	d.forward = forward{kind: ForwardXtables, why: why}
	return nil
}

// findIPVS says what shows that kube-proxy or others balance by IPVS: its
// requests pass LOCAL_IN and LOCAL_OUT, and no program on NF_INET_FORWARD.
func findIPVS() (string, error) {
	if _, err := netlink.LinkByName("kube-ipvs0"); err == nil {
		return "kube-proxy runs with IPVS (interface kube-ipvs0), whose packets pass no forward hook", nil
	}
	// Of the thread: that of the process is another network namespace's in tests.
	table, err := os.ReadFile("/proc/thread-self/net/ip_vs")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for IPVS: %w", err)
	}
	if headings := 3; bytes.Count(table, []byte("\n")) > headings {
		return "IPVS has services (/proc/net/ip_vs), whose packets pass no forward hook", nil
	}
	return "", nil
}

// attachForward comes before any program of this run that passes on trust.
// Until Finish the pods' programs are those of the run before, and their own
// program has to stay: ours does not know their pods.
func (d *Datapath) attachForward() error {
	if d.forward.kind == ForwardNone {
		return nil
	}
	if err := d.forward.place.Attach(d.forward.program, !d.finished); err != nil {
		return fmt.Errorf("attach %s after translation: %w", d.forward.kind.programName(), err)
	}
	return nil
}

// dropOtherForwards removes what a run before used, once no program of it
// passes on trust any more.
func (d *Datapath) dropOtherForwards() error {
	var errs []error
	for kind, f := range d.opts.forwarders() {
		if kind != d.forward.kind {
			errs = append(errs, f.Detach())
		}
	}
	return errors.Join(errs...)
}

// RestoreForward looks whether the verdict after translation is still taken,
// and puts the program back. It returns what it found wrong. Where the program
// cannot be put back, or IPVS has come, the programs of all pods are replaced
// by such that deny what nothing would judge.
func (d *Datapath) RestoreForward() (found string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.finished || d.forward.kind == ForwardNone {
		return "", nil
	}
	ipvs, err := findIPVS()
	if err != nil {
		return "", err
	}
	if ipvs != "" {
		return ipvs, errors.Join(d.giveUpForward(ipvs), d.pinPrograms())
	}
	attached, err := d.forward.place.Attached(d.forward.program)
	if attached && err == nil {
		return "", nil
	}
	found = d.forward.kind.programName() + " was no longer attached after translation"
	if err = d.attachForward(); err != nil {
		return found, errors.Join(err, d.giveUpForward(err.Error()), d.pinPrograms())
	}
	return found + "; it is again", nil
}

// giveUpForward goes on without, which is safe: what it would have judged is
// denied. The next start of the agent chooses anew.
func (d *Datapath) giveUpForward(why string) error {
	before, place, program := d.program, d.forward.place, d.forward.program
	d.forward = forward{kind: ForwardNone, why: why}
	err := d.spec.Variables[bpf.WeirVarHaveForwardHook].Set(false)
	if err == nil {
		d.program, _, err = d.loadPrograms()
	}
	if err != nil {
		d.forward = forward{kind: d.forward.kind, why: why, place: place, program: program}
		return fmt.Errorf("go on without a hook after translation: %w", err)
	}
	d.forgetSpares()
	var errs []error
	for _, b := range d.bindings {
		errs = append(errs, d.attach(b))
	}
	for _, p := range before {
		errs = append(errs, p.Close())
	}
	errs = append(errs, d.moveEpoch()) // flows that were deferred are judged again
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(place.Detach(), program.Close())
}

func (d *Datapath) forwardFeature() Feature {
	f := Feature{Name: "verdict after translation", InUse: d.forward.kind != ForwardNone}
	switch d.forward.kind {
	case ForwardNetfilter: // nothing better
	case ForwardXtables:
		f.Note = "by a match of xt_bpf in the tables ip weir and ip6 weir: " + d.forward.why
	default:
		f.Note = "egress-isolated pods reach no Service address and no translated port of the node: " + d.forward.why
	}
	return f
}
