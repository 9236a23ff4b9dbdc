// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"time"

	"github.com/weirnet/weir/test/netns"
)

// wire is a place where frames are sent, and what has arrived there.
type wire struct {
	*netns.Tap
	read [][]byte
}

// newWire opens an interface of a namespace for whole frames.
func newWire(ns *netns.Namespace, ifname string) (*wire, error) {
	tap, err := ns.Tap(ifname)
	return &wire{Tap: tap}, err
}

// newDelivery sees what the stack of a namespace takes for itself of one
// protocol.
func newDelivery(ns *netns.Namespace, family, protocol int) (*wire, error) {
	tap, err := ns.TapDelivered(family, protocol)
	return &wire{Tap: tap}, err
}

// drain reads what has arrived.
func (w *wire) drain() error {
	return w.Drain(func(data []byte, _ int) { w.read = append(w.read, bytes.Clone(data)) })
}

// has reports whether a frame with these bytes in it has arrived.
func (w *wire) has(mark []byte) (bool, error) {
	if err := w.drain(); err != nil {
		return false, err
	}
	for _, frame := range w.read {
		if bytes.Contains(frame, mark) {
			return true, nil
		}
	}
	return false, nil
}

// patience with what must happen; all of it passes only where something is
// wrong.
const patience = 3 * time.Second

// eventually reports whether a condition held before the deadline.
func eventually(holds func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil || time.Now().After(deadline) {
			return ok, err
		}
		<-tick.C
	}
}
