// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
)

// Finding is a program on an interface of the node that calls
// bpf_redirect_peer: what it redirects jumps over the host veth, and weir's
// programs there never see it.
type Finding struct {
	Ifindex int
	Ifname  string
	Hook    Hook // FromPod: TC ingress, ToPod: TC egress
	Kind    string
	Program ebpf.ProgramID // that calls
	Name    string
	// Through is the program on the hook, if the caller is reached from it by
	// a tail call; else 0.
	Through ebpf.ProgramID
}

// RedirectPeer examines the programs on all interfaces of the network
// namespace (TCX, and filters of clsact or ingress qdiscs), with their
// subprograms and with the programs in every PROG_ARRAY that they hold. Not
// followed: arrays inside maps of maps, and programs that replace a
// subprogram (freplace).
//
// Programs that cannot be examined are in the error, beside what was found.
// If the kernel hides calls (kptr_restrict, without CAP_SYSLOG), the error is
// ErrInstructionsHidden.
func RedirectPeer() ([]Finding, error) {
	call, err := redirectCall()
	if err != nil {
		return nil, err
	}
	links, err := wholeList(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	seen, err := listQdiscs()
	if err != nil {
		return nil, err
	}
	s := search{call: call, qdiscs: seen, known: map[ebpf.ProgramID]*examined{}}
	var findings []Finding
	var errs []error
	for _, l := range links {
		for _, hook := range hooks {
			found, err := s.hook(l.Attrs().Index, l.Attrs().Name, hook)
			findings = append(findings, found...)
			if err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("examine programs of %s: %w", l.Attrs().Name, err))
			}
		}
	}
	return findings, errors.Join(errs...)
}

// redirectCall is how this kernel shows a call of bpf_redirect_peer in a dump:
// the helper's distance from __bpf_call_base, which differs by build and, on
// some, by boot. A program of our own that calls it tells, better than
// /proc/kallsyms: the same right shows both, and no symbol has to be resolved.
func redirectCall() (int64, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weir_redirect", Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, 0), asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirectPeer.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		return 0, fmt.Errorf("load a program that calls bpf_redirect_peer: %w", err)
	}
	defer p.Close()
	calls, err := callsOf(p)
	if err != nil {
		return 0, err
	}
	if len(calls) != 1 {
		return 0, fmt.Errorf("the dump of a program with one call shows %d", len(calls))
	}
	if calls[0] == 0 {
		return 0, fmt.Errorf("%w: set kernel.kptr_restrict to 0 or 1 and give the agent CAP_SYSLOG", ErrInstructionsHidden)
	}
	return calls[0], nil
}

// callsOf lists the helpers that a program and its subprograms call, as the
// kernel shows them.
func callsOf(p *ebpf.Program) ([]int64, error) {
	info, err := p.Info()
	if err != nil {
		return nil, fmt.Errorf("inspect program: %w", err)
	}
	instructions, err := info.Instructions()
	if err != nil {
		return nil, fmt.Errorf("dump program: %w", err)
	}
	var calls []int64
	for _, i := range instructions {
		if i.OpCode.JumpOp() == asm.Call && !i.IsFunctionCall() && !i.IsKfuncCall() {
			calls = append(calls, i.Constant)
		}
	}
	return calls, nil
}

// search remembers programs: one is often on many interfaces.
type search struct {
	call   int64
	qdiscs qdiscs
	known  map[ebpf.ProgramID]*examined
}

// examined says which programs that are reached from one call the helper.
type examined struct {
	callers []caller
	err     error
}

type caller struct {
	id   ebpf.ProgramID
	name string
}

func (s *search) hook(ifindex int, ifname string, hook Hook) ([]Finding, error) {
	attached, err := programsOn(ifindex, hook, s.qdiscs)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	var errs []error
	for _, n := range attached {
		e := s.known[n.Program]
		if e == nil {
			e = &examined{}
			s.examine(n.Program, e, map[ebpf.ProgramID]bool{})
			s.known[n.Program] = e
		}
		errs = append(errs, e.err)
		for _, c := range e.callers {
			f := Finding{Ifindex: ifindex, Ifname: ifname, Hook: hook, Kind: n.Kind, Program: c.id, Name: c.name}
			if c.id != n.Program {
				f.Through = n.Program
			}
			findings = append(findings, f)
		}
	}
	return findings, errors.Join(errs...)
}

func programsOn(ifindex int, hook Hook, seen qdiscs) ([]Neighbour, error) {
	list, err := queryTCX(ifindex, hook)
	if err != nil {
		return nil, err
	}
	var attached []Neighbour
	for _, a := range list {
		attached = append(attached, Neighbour{Kind: "tcx", Program: a.ID})
	}
	filters, err := seen.filters(ifindex, hook)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		if n := neighbourOf(f); n.Program != 0 {
			attached = append(attached, n)
		}
	}
	return attached, nil
}

func (s *search) examine(id ebpf.ProgramID, e *examined, seen map[ebpf.ProgramID]bool) {
	if seen[id] {
		return
	}
	seen[id] = true
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("open program %d: %w", id, err))
		return
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("inspect program %d: %w", id, err))
		return
	}
	calls, err := callsOf(p)
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("program %d (%s): %w", id, info.Name, err))
	}
	for _, c := range calls {
		// A dump before relocation has the helper's number.
		if c == s.call || c == int64(asm.FnRedirectPeer) {
			e.callers = append(e.callers, caller{id, info.Name})
			break
		}
	}
	mapIDs, _ := info.MapIDs()
	for _, next := range tailCalls(mapIDs, e) {
		s.examine(next, e, seen)
	}
}

// tailCalls lists the programs in those of the maps that are PROG_ARRAYs.
func tailCalls(ids []ebpf.MapID, e *examined) []ebpf.ProgramID {
	var programs []ebpf.ProgramID
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			e.err = errors.Join(e.err, fmt.Errorf("open map %d: %w", id, err))
			continue
		}
		if m.Type() == ebpf.ProgramArray {
			for i := range m.MaxEntries() {
				var program uint32
				if err := m.Lookup(i, &program); err == nil {
					programs = append(programs, ebpf.ProgramID(program))
				}
			}
		}
		m.Close()
	}
	return programs
}
