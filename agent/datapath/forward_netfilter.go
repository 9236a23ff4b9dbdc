// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// netfilterLinks attaches by netfilter links (6.4), pinned one per family.
type netfilterLinks struct {
	dir string // of the pins
}

// families in which a node forwards, and what their pins are called.
var families = [...]struct {
	name   string
	family link.NetfilterProtocolFamily
}{{"ipv4", link.NetfilterProtoIPv4}, {"ipv6", link.NetfilterProtoIPv6}}

func (n netfilterLinks) pin(family string) string {
	return filepath.Join(n.dir, "forward-"+family)
}

func (n netfilterLinks) Attach(program *ebpf.Program, beside bool) error {
	ours, err := programID(program)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range families {
		path := n.pin(f.name)
		err := n.attachNew(path, f.family, program, ours)
		if err == nil && !beside {
			err = n.finish(path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

// attachNew makes the new link before the old one goes: a netfilter link
// cannot be updated. In between a packet meets both programs; the second finds
// the entry of the first.
func (n netfilterLinks) attachNew(path string, family link.NetfilterProtocolFamily, program *ebpf.Program, ours ebpf.ProgramID) error {
	if there, err := n.holds(path, family, ours); there || err != nil {
		return err
	}
	if err := n.drop(path + newSuffix); err != nil { // of an agent that died
		return err
	}
	fresh, err := attachFree(family, program)
	if err != nil {
		return err
	}
	defer fresh.Close() // the pin keeps it
	if err := fresh.Pin(path + newSuffix); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

// finish lets the new link, if there is one, take the place of the old.
func (n netfilterLinks) finish(path string) error {
	if _, err := os.Lstat(path + newSuffix); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := n.drop(path); err != nil {
		return err
	}
	return os.Rename(path+newSuffix, path)
}

// attachFree takes the first free priority: the old link holds one, and
// programs of others may hold more.
func attachFree(family link.NetfilterProtocolFamily, program *ebpf.Program) (link.Link, error) {
	const tries = 16
	var err error
	for i := range int32(tries) {
		var l link.Link
		l, err = link.AttachNetfilter(link.NetfilterOptions{
			Program: program, ProtocolFamily: family, Hook: link.NetfilterInetForward, Priority: forwardPriority + i,
		})
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d programs of others hold the priorities from %d up: %w", tries, forwardPriority, err)
}

// open gives the pinned link and the program that it runs; nil: there is none.
func (n netfilterLinks) open(path string) (link.Link, ebpf.ProgramID, error) {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open link %s: %w", path, err)
	}
	info, err := l.Info()
	if err != nil {
		l.Close()
		return nil, 0, fmt.Errorf("inspect link %s: %w", path, err)
	}
	return l, info.Program, nil
}

// runs asks the hook itself: a link that was detached by force looks as
// before. Where the kernel cannot list its hooks, the link's word is taken.
func (n netfilterLinks) runs(family link.NetfilterProtocolFamily, id ebpf.ProgramID) bool {
	programs, err := listForward(uint8(family))
	if err != nil {
		return true
	}
	for _, p := range programs {
		if p == id {
			return true
		}
	}
	return false
}

func (n netfilterLinks) Attached(program *ebpf.Program) (bool, error) {
	ours, err := programID(program)
	if err != nil {
		return false, err
	}
	for _, f := range families {
		if there, err := n.holds(n.pin(f.name), f.family, ours); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// holds looks at both pins: beside the link of a run before stands a new one.
func (n netfilterLinks) holds(path string, family link.NetfilterProtocolFamily, program ebpf.ProgramID) (bool, error) {
	for _, p := range []string{path, path + newSuffix} {
		l, id, err := n.open(p)
		if err != nil {
			return false, err
		}
		if l == nil {
			continue
		}
		l.Close()
		if id == program && n.runs(family, id) {
			return true, nil
		}
	}
	return false, nil
}

func (n netfilterLinks) Detach() error {
	var errs []error
	for _, f := range families {
		errs = append(errs, n.drop(n.pin(f.name)+newSuffix), n.drop(n.pin(f.name)))
	}
	return errors.Join(errs...)
}

func (n netfilterLinks) drop(path string) error {
	l, _, err := n.open(path)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
		if err := l.Detach(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("detach link %s: %w", path, err)
		}
	}
	return removePin(path)
}
