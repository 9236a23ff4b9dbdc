// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"encoding/binary"
	"slices"

	"github.com/weirnet/weir/policy"
)

// Class is what all its addresses satisfy. It never changes.
type Class struct {
	ID    ClassID
	Terms []TermID // sorted
	// Ports are the named ports that egress rules ask of one of Terms. Sorted.
	Ports []policy.NamedPort

	key  string
	uses int // addresses and prefixes that have it
}

// classTable interns classes.
type classTable struct {
	last    ClassID
	none    *Class // class 0; always there
	byKey   map[string]*Class
	fresh   []*Class
	idle    []*Class // had no use at some time since the last sweep
	scratch []byte
}

func newClassTable(last ClassID) classTable {
	none := &Class{key: string(classKey(nil, nil, nil)), uses: 1}
	return classTable{last: last, none: none, byKey: map[string]*Class{none.key: none}}
}

func classKey(buf []byte, terms []TermID, ports []policy.NamedPort) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(terms)))
	for _, id := range terms {
		buf = binary.BigEndian.AppendUint32(buf, uint32(id))
	}
	return appendPorts(buf, ports)
}

// intern returns the class of a signature. The caller must hold it, or drop it
// at once.
func (ct *classTable) intern(terms []TermID, ports []policy.NamedPort) *Class {
	ct.scratch = classKey(ct.scratch[:0], terms, ports)
	if c := ct.byKey[string(ct.scratch)]; c != nil {
		return c
	}
	ct.last++
	c := &Class{ID: ct.last, Terms: slices.Clone(terms), Ports: slices.Clone(ports), key: string(ct.scratch)}
	ct.byKey[c.key] = c
	ct.fresh = append(ct.fresh, c)
	ct.idle = append(ct.idle, c)
	return c
}

func (ct *classTable) hold(c *Class) { c.uses++ }

func (ct *classTable) release(c *Class) {
	if c.uses--; c.uses == 0 {
		ct.idle = append(ct.idle, c)
	}
}

// sweep drops the classes that have no use.
func (ct *classTable) sweep() []ClassID {
	var gone []ClassID
	for _, c := range ct.idle {
		if c.uses == 0 && ct.byKey[c.key] == c {
			delete(ct.byKey, c.key)
			gone = append(gone, c.ID)
		}
	}
	ct.idle = nil
	slices.Sort(gone)
	return gone
}

func (ct *classTable) takeFresh() []*Class {
	fresh := ct.fresh
	ct.fresh = nil
	return fresh
}

// within reports whether d has all that c has: an address that goes from c to
// d loses nothing that a rule may have allowed it.
func (c *Class) within(d *Class) bool {
	for _, id := range c.Terms {
		if _, has := slices.BinarySearch(d.Terms, id); !has {
			return false
		}
	}
	for _, p := range c.Ports {
		if !slices.Contains(d.Ports, p) {
			return false
		}
	}
	return true
}
