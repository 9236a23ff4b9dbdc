// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
)

// Cleanup removes everything of weir from the node: programs from all
// interfaces of the network namespace, qdiscs that weir made and that are
// empty, links, maps, and the pin directory. It works after an agent that died
// anywhere, and does not need to have been Load. Pods are then without any
// enforcement. A running agent is not disturbed: ErrLocked.
func Cleanup(opts Options, log *slog.Logger) error {
	opts.Defaults()
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("options of the data path: %w", err)
	}
	lock, err := takeLock(opts.LockPath)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	defer lock.Close()
	links, err := wholeList(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("clean up: list interfaces: %w", err)
	}
	var errs []error
	for _, l := range links {
		errs = append(errs, cleanInterface(opts, l.Attrs().Index, l.Attrs().Name, log))
	}
	for _, ifindex := range pinnedInterfaces(opts) { // of interfaces that are gone
		errs = append(errs, cleanInterface(opts, ifindex, strconv.Itoa(ifindex), log))
	}
	for kind, f := range opts.forwarders() {
		if err := f.Detach(); err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", kind.programName(), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w; the maps are kept, run it again", err)
	}
	on, err := onBPFFS(opts.PinDir)
	if err != nil || !on {
		return err // nothing can be pinned there
	}
	if err := os.RemoveAll(opts.PinDir); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	log.Info("removed all that weir had in the kernel", "pins", opts.PinDir)
	return nil
}

func cleanInterface(opts Options, ifindex int, name string, log *slog.Logger) error {
	var errs []error
	for _, a := range []attacher{tcx{dir: opts.linksDir()}, clsact{dir: opts.qdiscDir()}} {
		for _, hook := range hooks {
			before, err := positionOn(a, ifindex, hook)
			if err == nil {
				err = a.Detach(ifindex, hook)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("detach %s from %s: %w", hook, name, err))
			} else if before.Attached {
				log.Info("detached", "program", hook.String(), "interface", name)
			}
		}
	}
	return errors.Join(errs...)
}
