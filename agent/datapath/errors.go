// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrFull is wrapped by a FullError.
	ErrFull = errors.New("map is full")
	// ErrLocked: another agent holds the node.
	ErrLocked = errors.New("another agent runs on this node")
	// ErrNotFinished: the run before is still in force.
	ErrNotFinished = errors.New("the agent before stays in force")
	// ErrNotBound: no veth is bound to that pod or interface.
	ErrNotBound = errors.New("not bound")
	// ErrInstructionsHidden: the kernel does not show this process what
	// programs call.
	ErrInstructionsHidden = errors.New("the kernel hides what programs call")
)

// FullError says which map has no room. Nothing of what was asked is in
// force; what was in force before still is.
type FullError struct {
	Map    string
	Size   uint32 // its capacity, in entries
	Need   uint32 // entries that it would have to hold
	Option string // the field of Sizes to raise
}

func (e *FullError) Error() string {
	return fmt.Sprintf("map %s is full: it holds %d entries and %d are needed; raise its size (%s) and restart the agent",
		e.Map, e.Size, e.Need, e.Option)
}

func (e *FullError) Unwrap() error { return ErrFull }

// ConflictError: an address is bound to another veth that still exists. The
// binding stays with that one, so what the second sends from the address is
// dropped as spoofed.
type ConflictError struct {
	Addr          netip.Addr
	Ifindex, With int
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("bind %s to interface %d: it belongs to interface %d; unbind that one first, or find out why two pods have one address",
		e.Addr, e.Ifindex, e.With)
}

// AttachError: a program could not be attached. The other program of the
// interface may be in place.
type AttachError struct {
	Ifindex int
	Ifname  string
	Hook    Hook
	Err     error
}

func (e *AttachError) Error() string {
	return fmt.Sprintf("attach %s to %s (interface %d): %v", e.Hook, e.Ifname, e.Ifindex, e.Err)
}

func (e *AttachError) Unwrap() error { return e.Err }
