// SPDX-License-Identifier: Apache-2.0

package datapath

// Slots of flow_usage and flow_limit that no endpoint gets.
const (
	spillSlot    = 0 // flow_usage[0] says that flows_spill is in use
	selfTestSlot = 1
	firstSlot    = 2
)

// slotPool gives each endpoint an index into flow_usage and flow_limit.
type slotPool struct {
	used []bool
	next uint32
}

func newSlotPool(n uint32) slotPool {
	return slotPool{used: make([]bool, n), next: firstSlot}
}

// take reserves a slot, if it is one.
func (p *slotPool) take(slot uint32) {
	if slot >= firstSlot && int(slot) < len(p.used) {
		p.used[slot] = true
	}
}

// get finds a free slot, going round: a slot's last owner may have packets in
// flight that still count for it.
func (p *slotPool) get() (uint32, bool) {
	for range p.used {
		slot := p.next
		if p.next++; int(p.next) >= len(p.used) {
			p.next = firstSlot
		}
		if int(slot) < len(p.used) && !p.used[slot] {
			p.used[slot] = true
			return slot, true
		}
	}
	return 0, false
}

func (p *slotPool) put(slot uint32) {
	if slot >= firstSlot && int(slot) < len(p.used) {
		p.used[slot] = false
	}
}
