// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The handles of weir's filters, "wei1" and "wei2" in ASCII: handle 1 is what
// others take, and a filter of that handle would be replaced silently. Two,
// since a filter moves to the front by the other handle before the first goes.
const (
	handleOne   = 0x77656931
	handleTwo   = 0x77656932
	filterName  = "weir:"
	priority    = 1
	lastTried   = 16 // priorities tried where others hold the first
	qdiscMarker = "clsact"
)

// clsact attaches by direct-action BPF filters of a clsact qdisc, for kernels
// before 6.6. The filters hold the programs, so they outlive the agent.
type clsact struct {
	dir string // of the marks of qdiscs that weir made
}

func (c clsact) Attach(ifindex int, hook Hook, program programPair) error {
	if err := c.ensureQdisc(ifindex, hook); err != nil {
		return err
	}
	filters, err := listFilters(ifindex, hook)
	if err != nil {
		return err
	}
	ours := ownFilters(filters, hook)
	if len(ours) == 0 {
		if err := addFirst(ifindex, hook, program.main); err != nil {
			return err
		}
		return c.front(ifindex, hook, program)
	}
	// In place, by handle: the new program follows the old within one packet.
	if err := setFilter(ifindex, hook, program.main, ours[0].Priority, ours[0].Handle, false); err != nil {
		return err
	}
	for _, extra := range ours[1:] { // a dead agent's move was not completed
		if err := deleteFilter(extra); err != nil {
			return err
		}
	}
	return c.front(ifindex, hook, program)
}

// front moves the filter before those of others: a new one of the other
// handle first (the newest of a priority runs first), then the old one goes.
// Where others hold priority 1 with another kind or protocol it stays behind
// them, and Position says so.
func (c clsact) front(ifindex int, hook Hook, program programPair) error {
	filters, err := listFilters(ifindex, hook)
	if err != nil {
		return err
	}
	if len(filters) == 0 || isOwn(filters[0], hook) {
		return nil
	}
	old := ownFilters(filters, hook)
	if len(old) == 0 {
		return errors.New("the filter vanished while it was attached")
	}
	handle := uint32(handleOne)
	if old[0].Handle == handle {
		handle = handleTwo
	}
	err = setFilter(ifindex, hook, program.main, priority, handle, true)
	if occupied(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return deleteFilter(old[0])
}

// addFirst takes priority 1, or the next that is free: enforcement behind a
// neighbour is better than none, and it is reported.
func addFirst(ifindex int, hook Hook, program *ebpf.Program) error {
	for p := uint16(priority); ; p++ {
		err := setFilter(ifindex, hook, program, p, handleOne, true)
		if err == nil || !occupied(err) || p == lastTried {
			return err
		}
	}
}

// occupied: a priority holds one kind and one protocol only.
func occupied(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EEXIST)
}

func setFilter(ifindex int, hook Hook, program *ebpf.Program, prio uint16, handle uint32, fresh bool) error {
	chain := uint32(0)
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: hook.parent(), Handle: handle,
			Protocol: unix.ETH_P_ALL, Priority: prio, Chain: &chain,
		},
		Fd: program.FD(), Name: filterName + hook.String(), DirectAction: true,
	}
	if fresh {
		if err := netlink.FilterAdd(filter); err != nil {
			return fmt.Errorf("add filter at priority %d: %w", prio, err)
		}
		return nil
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return fmt.Errorf("replace filter: %w", err)
	}
	return nil
}

func (c clsact) Detach(ifindex int, hook Hook) error {
	filters, err := listFilters(ifindex, hook)
	if err != nil {
		return err
	}
	for _, f := range ownFilters(filters, hook) {
		if err := deleteFilter(f); err != nil {
			return err
		}
	}
	return c.removeQdisc(ifindex)
}

func (c clsact) Position(ifindex int, hook Hook, seen qdiscs) (Position, error) {
	position := Position{Hook: hook}
	// TCX programs run before every filter.
	list, err := queryTCX(ifindex, hook)
	if err != nil {
		return position, err
	}
	for _, attached := range list {
		position.add(Neighbour{Kind: "tcx", Name: programName(attached.ID), Program: attached.ID})
	}
	filters, err := seen.filters(ifindex, hook)
	if err != nil {
		return position, err
	}
	for _, f := range filters {
		if isOwn(f, hook) && !position.Attached {
			position.Attached = true
			position.Program = ebpf.ProgramID(f.(*netlink.BpfFilter).Id)
			continue
		}
		position.add(neighbourOf(f))
	}
	return position, nil
}

// ensureQdisc makes a clsact qdisc where there is none. Beside an ingress
// qdisc there can be none; its own filters serve from_pod, and to_pod has no
// place.
func (c clsact) ensureQdisc(ifindex int, hook Hook) error {
	kind, err := ingressQdisc(ifindex)
	if err != nil {
		return err
	}
	switch {
	case kind == "clsact", kind == "ingress" && hook == FromPod:
		return nil
	case kind == "ingress":
		return errors.New("the interface has an `ingress` qdisc, beside which there can be no `clsact`; replace it by clsact, or use a kernel with TCX (6.6)")
	}
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	// The mark comes first: a mark without a qdisc does no harm, a qdisc
	// without its mark would never be removed.
	if err := os.MkdirAll(c.mark(ifindex), 0o700); err != nil {
		return fmt.Errorf("mark the qdisc as weir's: %w", err)
	}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	return nil
}

func (c clsact) mark(ifindex int) string {
	return filepath.Join(c.dir, strconv.Itoa(ifindex))
}

// removeQdisc removes a clsact qdisc that weir made and that holds no filter.
func (c clsact) removeQdisc(ifindex int) error {
	if _, err := os.Stat(c.mark(ifindex)); err != nil {
		return nil
	}
	kind, err := ingressQdisc(ifindex)
	if err != nil {
		return err
	}
	if kind == "clsact" {
		for _, hook := range hooks {
			if filters, err := listFilters(ifindex, hook); err != nil || len(filters) > 0 {
				return err
			}
		}
		err := netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
		if err != nil && !gone(err) {
			return fmt.Errorf("remove clsact qdisc: %w", err)
		}
	}
	return removePin(c.mark(ifindex))
}

// qdiscs is the kind of ingress qdisc, "clsact" or "ingress", of each interface
// that has one. The kernel lists those of all interfaces whichever is asked
// for, so who looks at many interfaces lists them once.
type qdiscs map[int]string

func listQdiscs() (qdiscs, error) {
	list, err := wholeList(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
	if err != nil {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	kinds := qdiscs{}
	for _, q := range list {
		if kind := q.Type(); kind == "clsact" || kind == "ingress" {
			kinds[q.Attrs().LinkIndex] = kind
		}
	}
	return kinds, nil
}

// ingressQdisc is "clsact", "ingress" or "" where there is neither.
func ingressQdisc(ifindex int) (string, error) {
	kinds, err := listQdiscs()
	return kinds[ifindex], err
}

// listFilters is filters for who looks at one interface.
func listFilters(ifindex int, hook Hook) ([]netlink.Filter, error) {
	return qdiscs(nil).filters(ifindex, hook)
}

// filters lists a hook's filters of chain 0 in the order in which they run. An
// interface without a qdisc is asked only where qdiscs were not listed; the
// list of all is asked for only where there are filters to tell apart.
func (q qdiscs) filters(ifindex int, hook Hook) ([]netlink.Filter, error) {
	if q != nil && !q.has(ifindex, hook) {
		return nil, nil
	}
	filters, err := filtersBelow(ifindex, hook)
	if err != nil || len(filters) == 0 || q != nil || hook == FromPod {
		return filters, err
	}
	if q, err = listQdiscs(); err != nil || !q.has(ifindex, hook) {
		return nil, err
	}
	return filters, nil
}

// has reports whether filters of a hook are below an interface's qdisc. An
// ingress qdisc answers with its ingress filters whatever is asked.
func (q qdiscs) has(ifindex int, hook Hook) bool {
	return q[ifindex] == "clsact" || q[ifindex] == "ingress" && hook == FromPod
}

func filtersBelow(ifindex int, hook Hook) ([]netlink.Filter, error) {
	all, err := wholeList(func() ([]netlink.Filter, error) { return netlink.FilterList(linkOf(ifindex), hook.parent()) })
	if gone(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // no device, or no qdisc that has this hook
	}
	if err != nil {
		return nil, fmt.Errorf("list filters of %s: %w", hook, err)
	}
	filters := slices.DeleteFunc(all, func(f netlink.Filter) bool {
		chain := f.Attrs().Chain
		return chain != nil && *chain != 0
	})
	slices.SortStableFunc(filters, func(a, b netlink.Filter) int {
		return int(a.Attrs().Priority) - int(b.Attrs().Priority)
	})
	return filters, nil
}

func deleteFilter(f *netlink.BpfFilter) error {
	if err := netlink.FilterDel(f); err != nil && !gone(err) {
		return fmt.Errorf("remove filter: %w", err)
	}
	return nil
}

func ownFilters(filters []netlink.Filter, hook Hook) []*netlink.BpfFilter {
	var own []*netlink.BpfFilter
	for _, f := range filters {
		if isOwn(f, hook) {
			own = append(own, f.(*netlink.BpfFilter))
		}
	}
	return own
}

// isOwn knows a filter by handle and name: a dead agent's too.
func isOwn(f netlink.Filter, hook Hook) bool {
	b, ok := f.(*netlink.BpfFilter)
	if !ok || (b.Handle != handleOne && b.Handle != handleTwo) {
		return false
	}
	return strings.HasPrefix(b.Name, filterName+hook.String())
}

func neighbourOf(f netlink.Filter) Neighbour {
	n := Neighbour{Kind: f.Type(), Priority: f.Attrs().Priority}
	if b, ok := f.(*netlink.BpfFilter); ok {
		n.Name, n.Program = b.Name, ebpf.ProgramID(b.Id)
	}
	return n
}

// wholeList lists again while the kernel says that a change came in between,
// as it does when many pods come and go.
func wholeList[T any](list func() ([]T, error)) (all []T, err error) {
	for range 20 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

// gone: the device, or what was asked of it, does not exist.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO)
}

func linkOf(ifindex int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
}
