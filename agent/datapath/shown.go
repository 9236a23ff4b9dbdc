// SPDX-License-Identifier: Apache-2.0

package datapath

// Epoch is the current one.
func (d *Datapath) Epoch() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tables.epochValue
}

// AttachedBy says through what programs are attached.
func (d *Datapath) AttachedBy() string {
	if _, ok := d.hook.(tcx); ok {
		return string(AttachTCX)
	}
	return string(AttachClsact)
}
