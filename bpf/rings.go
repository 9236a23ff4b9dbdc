// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
)

// SizeRings gives the rings of events their size in bytes, a power of two: the
// maps, and the programs, which look at how full a ring is.
func SizeRings(spec *ebpf.CollectionSpec, bytes uint32) error {
	if bits.OnesCount32(bytes) != 1 {
		return fmt.Errorf("rings of %d bytes: want a power of two", bytes)
	}
	for _, name := range []string{WeirMapEventsAllowed, WeirMapEventsDenied} {
		spec.Maps[name].MaxEntries = bytes
	}
	if err := spec.Variables[WeirVarRingOrder].Set(uint32(bits.TrailingZeros32(bytes))); err != nil {
		return fmt.Errorf("set %s: %w", WeirVarRingOrder, err)
	}
	return nil
}
