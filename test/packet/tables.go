// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
)

// Slots is how many slots of flow_usage and flow_limit Reset clears: tests
// use slots below it.
const Slots = 64

// Address is the form of an address in the maps: IPv4 as ::ffff:a.b.c.d.
func Address(a netip.Addr) bpf.WeirAddress { return bpf.WeirAddress{Bytes: a.As16()} }

// Port turns a port to the network order of keys and entries, and back.
func Port(p uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(p >> 8), byte(p)})
}

// PutEndpoint makes the link a pod's.
func (m *Machine) PutEndpoint(ifindex uint32, e bpf.WeirEndpoint) error {
	e.Ifindex = ifindex
	return m.write(m.objects.Endpoints, ifindex, e)
}

// PutEndpointAt writes an endpoint under another key than the one that it
// repeats: a recycled element.
func (m *Machine) PutEndpointAt(ifindex uint32, e bpf.WeirEndpoint) error {
	return m.write(m.objects.Endpoints, ifindex, e)
}

// RemoveEndpoint makes the link nobody's.
func (m *Machine) RemoveEndpoint(ifindex uint32) error {
	return m.remove(m.objects.Endpoints, ifindex)
}

// PutLocal binds an address to the link that may send from it.
func (m *Machine) PutLocal(a netip.Addr, ifindex uint32) error {
	return m.write(m.objects.LocalIps, Address(a), bpf.WeirOwner{Address: Address(a), Ifindex: ifindex})
}

// PutLocalAt writes the binding of one address under another: a recycled
// element.
func (m *Machine) PutLocalAt(a, repeated netip.Addr, ifindex uint32) error {
	return m.write(m.objects.LocalIps, Address(a), bpf.WeirOwner{Address: Address(repeated), Ifindex: ifindex})
}

// PutPeer gives an exact address its class and flags.
func (m *Machine) PutPeer(a netip.Addr, class uint32, flags bpf.WeirPeerFlag) error {
	return m.PutPeerAt(a, a, class, flags)
}

// PutPeerAt writes what belongs to one address under another: a recycled
// element.
func (m *Machine) PutPeerAt(a, repeated netip.Addr, class uint32, flags bpf.WeirPeerFlag) error {
	return m.write(m.objects.Peers, Address(a), bpf.WeirPeer{Address: Address(repeated), Class: class, Flags: uint32(flags)})
}

// RemovePeer forgets an address.
func (m *Machine) RemovePeer(a netip.Addr) error { return m.remove(m.objects.Peers, Address(a)) }

// PutPrefix gives a prefix its class.
func (m *Machine) PutPrefix(p netip.Prefix, class uint32) error {
	return m.write(m.objects.Cidrs, cidrKey(p), class)
}

// RemovePrefix forgets a prefix.
func (m *Machine) RemovePrefix(p netip.Prefix) error { return m.remove(m.objects.Cidrs, cidrKey(p)) }

func cidrKey(p netip.Prefix) bpf.WeirCidrKey {
	p = p.Masked()
	key := bpf.WeirCidrKey{PrefixLen: uint32(p.Bits()), Addr: p.Addr().As16()}
	if p.Addr().Is4() {
		key.PrefixLen += 96
	}
	return key
}

// PutRow writes one page of a row under the key that it repeats.
func (m *Machine) PutRow(row bpf.WeirRow) error { return m.write(m.objects.Rows, row.Key, row) }

// PutRowAt writes a page under another key than its own: a recycled element.
func (m *Machine) PutRowAt(key bpf.WeirRowKey, row bpf.WeirRow) error {
	return m.write(m.objects.Rows, key, row)
}

// RemoveRow forgets a page.
func (m *Machine) RemoveRow(key bpf.WeirRowKey) error { return m.remove(m.objects.Rows, key) }

// PutTranslated names a port on which the node translates what is sent to it.
func (m *Machine) PutTranslated(protocol uint8, port uint16) error {
	return m.write(m.objects.Translated, bpf.WeirPortKey{Port: Port(port), Protocol: protocol}, uint8(1))
}

// PutTunnel names a UDP port of the node's tunnels.
func (m *Machine) PutTunnel(port uint16) error {
	return m.write(m.objects.Tunnels, bpf.WeirPortKey{Port: Port(port), Protocol: protocolUDP}, uint8(1))
}

// SetEpoch moves the epoch.
func (m *Machine) SetEpoch(n uint32) error { return put(m.objects.Epoch, uint32(0), n) }

// Epoch is the present one.
func (m *Machine) Epoch() (uint32, error) {
	var n uint32
	err := m.objects.Epoch.Lookup(uint32(0), &n)
	return n, err
}

// SetFlowLimit gives a slot its share of flows.
func (m *Machine) SetFlowLimit(slot uint32, n uint64) error {
	return put(m.objects.FlowLimit, slot, n)
}

// FlowUsage is how many entries of flows a slot ever made; of slot 0, whether
// anything was ever spilled.
func (m *Machine) FlowUsage(slot uint32) (uint64, error) {
	var n uint64
	err := m.objects.FlowUsage.Lookup(slot, &n)
	return n, err
}

func put(table *ebpf.Map, key, value any) error {
	if err := table.Put(key, value); err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	return nil
}

// write one of the tables that the agent alone writes.
func (m *Machine) write(table *ebpf.Map, key, value any) error {
	return errors.Join(put(table, key, value), m.moveRevision())
}

// remove is done, too, where there is nothing.
func (m *Machine) remove(table *ebpf.Map, key any) error {
	err := table.Delete(key)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from %s: %w", table, err)
	}
	return m.moveRevision()
}

// moveRevision tells the programs that a table was written.
func (m *Machine) moveRevision() error {
	m.revision++
	return put(m.objects.Revision, uint32(0), m.revision)
}
