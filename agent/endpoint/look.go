// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// look is how far the reader is with the addresses inside one interface.
type look struct {
	seen  []netip.Addr // at the last look
	found bool         // an address that tells pods apart was seen
	tries int          // without one
	last  time.Time
	next  time.Time // zero: only a notice leads to another look
}

const (
	// A pod that changes its addresses all the time does not keep the agent
	// busy.
	lookPauseFound = 200 * time.Millisecond
	// Addresses are set some milliseconds after the veth appears, and its
	// notice may be missed by a kernel that does not tell.
	lookPauseFirst = 5 * time.Millisecond
	lookPauseMost  = time.Second
	lookTries      = 12
)

// lookable kinds have their other end inside a pod.
func lookable(i iface) bool {
	return i.Elsewhere && (i.Kind == vethKind || i.Kind == "netkit")
}

// perform brings the reader up to date with what is asked for. On an error the
// state is what could be read; the caller asks for all again.
func (r *Reader) perform(todo *work) (Event, error) {
	var e Event
	w := *todo
	*todo = work{}
	var err error
	if w.all {
		err = r.readAll(&e)
	} else {
		err = r.readSome(&e, w.links)
	}
	if err != nil {
		return e, err
	}
	r.lookInside(&e, &w)
	if err = r.readNode(&e, &w); err != nil {
		return e, err
	}
	if !r.listed {
		r.listed, e.Listed = true, true
	}
	return e, nil
}

func (e *Event) empty() bool {
	return len(e.Links) == 0 && len(e.Gone) == 0 && len(e.Hints) == 0 && e.Node == nil && !e.Listed
}

func (r *Reader) readAll(e *Event) error {
	now, err := listInterfaces(r.handle)
	if err != nil {
		return err
	}
	for index := range r.interfaces {
		if _, there := now[index]; !there {
			r.drop(e, index)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(now)) {
		r.take(e, now[index])
	}
	return nil
}

func (r *Reader) readSome(e *Event, links map[int]struct{}) error {
	for _, index := range slices.Sorted(maps.Keys(links)) {
		i, found, err := readInterface(r.handle, index)
		if err != nil {
			return err
		}
		if found {
			r.take(e, i)
		} else {
			r.drop(e, index)
		}
	}
	return nil
}

func (r *Reader) drop(e *Event, index int) {
	if _, known := r.interfaces[index]; known {
		delete(r.interfaces, index)
		delete(r.looks, index)
		e.Gone = append(e.Gone, index)
	}
}

func (r *Reader) take(e *Event, i iface) {
	old, known := r.interfaces[i.Index]
	if known && old.Kind != i.Kind { // the index has passed to another device
		r.drop(e, i.Index)
		known = false
	}
	r.interfaces[i.Index] = i
	if !known || old.Link != i.Link {
		e.Links = append(e.Links, i.Link)
	}
	moved := old.NetNS != i.NetNS || old.Peer != i.Peer
	switch {
	case !lookable(i):
		delete(r.looks, i.Index)
	case r.looks[i.Index] == nil || moved:
		r.looks[i.Index] = &look{next: time.Now()}
	}
}

// lookInside reads the addresses inside the interfaces that are due.
func (r *Reader) lookInside(e *Event, w *work) {
	now := time.Now()
	for _, index := range slices.Sorted(maps.Keys(r.looks)) {
		l, i := r.looks[index], r.interfaces[index]
		_, told := w.netns[i.NetNS]
		if told || (w.poked || w.all) && !l.found {
			l.ask(now)
		}
		if l.next.IsZero() || now.Before(l.next) {
			continue
		}
		addrs, err := r.dump.inside(i.NetNS, i.Peer)
		r.tellBlind(err)
		if l.took(addrs, now) {
			e.Hints = append(e.Hints, Hint{Index: index, Addrs: addrs})
		}
	}
}

// tellBlind logs that interfaces cannot be looked into, once for each reason.
// It is no failure of the reader: announced pods are bound all the same. A
// namespace or interface that is just going is none at all.
func (r *Reader) tellBlind(err error) {
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return
	}
	if text := err.Error(); text != r.blind {
		r.blind = text
		r.log.Warn("the addresses inside pods cannot be read; only announced pods are bound", "error", err)
	}
}

// ask for another look, not too soon after the last.
func (l *look) ask(now time.Time) {
	pause := lookPauseFirst
	if l.found {
		pause = lookPauseFound
	}
	at := now
	if earliest := l.last.Add(pause); earliest.After(now) {
		at = earliest
	}
	if l.next.IsZero() || at.Before(l.next) {
		l.next = at
	}
}

// took notes the outcome of a look, plans the next, and reports whether it is
// another than the last.
func (l *look) took(addrs []netip.Addr, now time.Time) (fresh bool) {
	l.last, l.next = now, time.Time{}
	l.found = slices.ContainsFunc(addrs, usable)
	if l.found {
		l.tries = 0
	} else if l.tries++; l.tries <= lookTries {
		l.next = now.Add(min(lookPauseFirst<<(l.tries-1), lookPauseMost))
	}
	fresh = !slices.Equal(l.seen, addrs)
	l.seen = addrs
	return fresh
}

// nextLook is how long until an interface is due; failing: something is to be
// read again after an error.
func (r *Reader) nextLook(failing bool) time.Duration {
	next := r.resync
	if failing {
		next = min(next, lookPauseMost)
	}
	for _, l := range r.looks {
		if !l.next.IsZero() {
			next = min(next, max(0, time.Until(l.next)))
		}
	}
	return next
}
