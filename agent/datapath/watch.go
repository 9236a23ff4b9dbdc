// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Displaced is a hook on which weir was not the first, or not at all.
type Displaced struct {
	Ifindex int
	Ifname  string
	Found   Position // before it was put right
	Now     Position
	Err     error // why it could not be put right
}

func (p Displaced) String() string {
	state := "not attached"
	if p.Found.Attached {
		state = fmt.Sprintf("behind %v", p.Found.Ahead)
	}
	if p.Err == nil && p.Now.First() {
		return fmt.Sprintf("%s of %s was %s; it is first again", p.Found.Hook, p.Ifname, state)
	}
	return fmt.Sprintf("%s of %s is %s: %v", p.Found.Hook, p.Ifname, state, p.Err)
}

// errBehind: the hook has no place before a neighbour.
var errBehind = errors.New("others hold the first place, and it cannot be taken without removing them")

// Position of weir on both hooks of an interface, with the neighbours.
func (d *Datapath) Position(ifindex int) ([]Position, error) {
	var list []Position
	for _, hook := range hooks {
		p, err := positionOn(d.hook, ifindex, hook)
		if err != nil {
			return nil, fmt.Errorf("look at interface %d: %w", ifindex, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// Restored is what a look at all bound veths found.
type Restored struct {
	Displaced []Displaced
	Positions map[int][]Position // by ifindex, as found; none for hooks that are not weir's yet
}

// Restore looks at the hooks of all bound veths, and puts weir back in the
// first place where it has lost it: attached in front before the old
// attachment goes. It holds nothing up: other methods have their turn between
// two interfaces.
func (d *Datapath) Restore() (Restored, error) {
	d.mu.Lock()
	indices := slices.Sorted(maps.Keys(d.bindings))
	d.mu.Unlock()
	r := Restored{Positions: map[int][]Position{}}
	seen, err := listQdiscs()
	if err != nil {
		return r, err
	}
	for _, ifindex := range indices {
		r.Displaced = append(r.Displaced, d.restoreInterface(ifindex, seen, r.Positions)...)
	}
	return r, nil
}

func (d *Datapath) restoreInterface(ifindex int, seen qdiscs, positions map[int][]Position) []Displaced {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, bound := d.bindings[ifindex]
	if !bound {
		return nil // unbound meanwhile
	}
	var list []Displaced
	for _, hook := range hooks {
		if !d.finished && d.attachedBefore(ifindex, hook) {
			continue // programs of the run before stay until Finish
		}
		found, err := d.hook.Position(ifindex, hook, seen)
		if err == nil {
			positions[ifindex] = append(positions[ifindex], found)
		}
		if err == nil && found.First() {
			continue
		}
		displaced := Displaced{Ifindex: ifindex, Ifname: b.Ifname, Found: found, Err: err}
		if err == nil {
			displaced.Now, displaced.Err = d.restore(ifindex, hook)
		}
		if displaced.Err != nil && !linkExists(ifindex) {
			return nil // it is going; who unbinds it has not been told yet
		}
		list = append(list, displaced)
	}
	return list
}

func (d *Datapath) restore(ifindex int, hook Hook) (Position, error) {
	if err := d.hook.Attach(ifindex, hook, d.pair(hook)); err != nil {
		return Position{Hook: hook}, err
	}
	now, err := positionOn(d.hook, ifindex, hook)
	if err == nil && !now.First() {
		err = errBehind
	}
	return now, err
}
