// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcx attaches by TCX links (6.6), pinned one per hook, so that they outlive
// the agent.
type tcx struct {
	dir string // of the pins
}

func (t tcx) pin(ifindex int, hook Hook) string {
	return filepath.Join(t.dir, strconv.Itoa(ifindex)+"-"+hook.String())
}

func (t tcx) Attach(ifindex int, hook Hook, program programPair) error {
	current, err := t.open(ifindex, hook)
	if err != nil {
		return err
	}
	if current == nil {
		return t.attachNew(ifindex, hook, program.main)
	}
	defer current.Close()
	if err := replaceProgram(current, program); err != nil {
		return err
	}
	position, err := positionOn(t, ifindex, hook)
	if err != nil || position.First() {
		return err
	}
	return t.moveToHead(ifindex, hook, current, position.Program, program)
}

// open gives the pinned link of a hook, nil if there is none. A pin whose
// device is gone, or that was detached by force, is removed: the number may be
// another device's by now.
func (t tcx) open(ifindex int, hook Hook) (link.Link, error) {
	path := t.pin(ifindex, hook)
	if err := t.finishMove(path, ifindex); err != nil {
		return nil, err
	}
	l, err := t.load(path, ifindex)
	if l != nil || err != nil {
		return l, err
	}
	return nil, removePin(path)
}

func (t tcx) load(path string, ifindex int) (link.Link, error) {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open link %s: %w", path, err)
	}
	info, err := l.Info()
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("inspect link %s: %w", path, err)
	}
	if at := info.TCX(); at == nil || int(at.Ifindex) != ifindex {
		l.Close()
		return nil, nil
	}
	return l, nil
}

func (t tcx) attachNew(ifindex int, hook Hook, program *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: hook.tcx(), Anchor: link.Head()})
	if err != nil {
		return err
	}
	defer l.Close() // the pin keeps it
	if err := l.Pin(t.pin(ifindex, hook)); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

// replaceProgram puts the new program in the place of the one that runs. A
// spare of this run stays: it is the same program.
func replaceProgram(l link.Link, program programPair) error {
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("inspect link: %w", err)
	}
	if current, err := isCurrent(info.Program, program); current || err != nil {
		return err
	}
	if err := l.Update(program.main); err != nil {
		return fmt.Errorf("replace the program of the link: %w", err)
	}
	return nil
}

func isCurrent(id ebpf.ProgramID, program programPair) (bool, error) {
	main, err := programID(program.main)
	if err != nil || id == main {
		return err == nil, err
	}
	if program.spare == nil {
		return false, nil
	}
	spare, err := program.spare()
	if err != nil {
		return false, err
	}
	other, err := programID(spare)
	return err == nil && id == other, err
}

// moveToHead attaches the twin of the running program in front of all, and
// only then lets go of the old link. In between a packet meets both; the
// second finds the flow that the first has entered and decides the same, and
// the packet is counted twice.
func (t tcx) moveToHead(ifindex int, hook Hook, old link.Link, running ebpf.ProgramID, program programPair) error {
	twin := program.main
	main, err := programID(program.main)
	if err != nil {
		return err
	}
	if running == main {
		if twin, err = program.spare(); err != nil {
			return fmt.Errorf("load a second copy of %s: %w", hook, err)
		}
	}
	moved, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: twin, Attach: hook.tcx(), Anchor: link.Head()})
	if err != nil {
		return fmt.Errorf("move to the front: %w", err)
	}
	defer moved.Close()
	path := t.pin(ifindex, hook)
	if err := moved.Pin(path + newSuffix); err != nil {
		return fmt.Errorf("pin moved link: %w", err)
	}
	if err := old.Detach(); err != nil {
		return fmt.Errorf("detach old link: %w", err)
	}
	return os.Rename(path+newSuffix, path) // in the place of the old pin
}

// newSuffix has no dot: a BPF file system refuses names with one.
const newSuffix = "-new"

// finishMove completes a move that a dead agent began: both links were live,
// so either may go.
func (t tcx) finishMove(path string, ifindex int) error {
	if _, err := os.Lstat(path + newSuffix); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	old, err := t.load(path, ifindex)
	if err != nil {
		return err
	}
	if old != nil {
		defer old.Close()
		return t.drop(path+newSuffix, ifindex)
	}
	if err := removePin(path); err != nil {
		return err
	}
	return os.Rename(path+newSuffix, path)
}

func (t tcx) Detach(ifindex int, hook Hook) error {
	path := t.pin(ifindex, hook)
	return errors.Join(t.drop(path+newSuffix, ifindex), t.drop(path, ifindex))
}

// drop detaches a pinned link and removes the pin. To remove the pin alone
// would detach later, from a work queue, or not at all while somebody else (a
// debugger) holds the link.
func (t tcx) drop(path string, ifindex int) error {
	l, err := t.load(path, ifindex)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
		if err := l.Detach(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("detach link: %w", err)
		}
	}
	return removePin(path)
}

func (t tcx) Position(ifindex int, hook Hook, seen qdiscs) (Position, error) {
	position := Position{Hook: hook}
	ours, err := t.load(t.pin(ifindex, hook), ifindex)
	if err != nil {
		return position, err
	}
	var id link.ID
	if ours != nil {
		defer ours.Close()
		info, err := ours.Info()
		if err != nil {
			return position, fmt.Errorf("inspect link: %w", err)
		}
		id = info.ID
	}
	list, err := queryTCX(ifindex, hook)
	if err != nil {
		return position, err
	}
	for _, attached := range list {
		if at, ok := attached.LinkID(); ok && ours != nil && at == id {
			position.Attached, position.Program = true, attached.ID
			continue
		}
		position.add(Neighbour{Kind: "tcx", Name: programName(attached.ID), Program: attached.ID})
	}
	// Filters of a qdisc run after all TCX programs.
	filters, err := seen.filters(ifindex, hook)
	if err != nil {
		return position, err
	}
	for _, f := range filters {
		position.add(neighbourOf(f))
	}
	return position, nil
}

func (p *Position) add(n Neighbour) {
	if p.Attached {
		p.Behind = append(p.Behind, n)
	} else {
		p.Ahead = append(p.Ahead, n)
	}
}

// queryTCX lists the TCX programs of a hook in the order in which they run;
// none where the kernel has no TCX or the device is gone.
func queryTCX(ifindex int, hook Hook) ([]link.AttachedProgram, error) {
	result, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: hook.tcx()})
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the programs of %s: %w", hook, err)
	}
	return result.Programs, nil
}

// haveTCX asks the loopback device, which every network namespace has.
func haveTCX() bool {
	_, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
	return err == nil
}

func programID(p *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := p.Info()
	if err != nil {
		return 0, fmt.Errorf("inspect program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("the kernel gives the program no id")
	}
	return id, nil
}

// programName is empty where the kernel does not tell (CAP_SYS_ADMIN).
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

func removePin(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}
