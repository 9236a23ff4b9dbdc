// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// Tables is what the maps hold, read in Go as the programs read them. It keeps
// the keys of the maps, but a subject by its pod where the data path has the
// interface. The zero value is empty and denies everything.
type Tables struct {
	Subjects map[policy.ObjectKey]SubjectSets
	Peers    map[bpf.WeirAddress]bpf.WeirPeer
	Cidrs    map[bpf.WeirCidrKey]resolve.ClassID
	Rows     map[bpf.WeirRowKey]bpf.WeirRow
	// Epoch counts its moves: those of updates, and one for an update that
	// gives a known subject other sets.
	Epoch uint32
}

// Apply does what the data path does with an update, in its order.
func (t *Tables) Apply(u *Update) {
	if t.Subjects == nil {
		t.Subjects = map[policy.ObjectKey]SubjectSets{}
		t.Peers = map[bpf.WeirAddress]bpf.WeirPeer{}
		t.Cidrs = map[bpf.WeirCidrKey]resolve.ClassID{}
		t.Rows = map[bpf.WeirRowKey]bpf.WeirRow{}
	}
	for _, row := range u.Rows {
		t.Rows[row.Key] = row
	}
	for _, p := range u.Peers {
		t.Peers[AddressKey(p.Addr)] = bpf.WeirPeer{Address: AddressKey(p.Addr), Class: uint32(p.Class), Flags: uint32(p.Flags)}
	}
	for _, p := range u.Prefixes {
		t.Cidrs[CidrKey(p.Prefix)] = p.Class
	}
	move := u.MoveEpoch
	for _, s := range u.Subjects {
		old, known := t.Subjects[s.Pod]
		move = move || known && (old.Ingress != s.Ingress || old.Egress != s.Egress)
		t.Subjects[s.Pod] = s
	}
	if move {
		t.Epoch++
	}
	t.delete(u)
}

func (t *Tables) delete(u *Update) {
	for _, key := range u.GoneSubjects {
		delete(t.Subjects, key)
	}
	for _, addr := range u.GonePeers {
		delete(t.Peers, AddressKey(addr))
	}
	for _, p := range u.GonePrefixes {
		delete(t.Cidrs, CidrKey(p))
	}
	for _, key := range u.GoneRows {
		delete(t.Rows, key)
	}
}

// AddressKey returns addr as the maps have it: 16 bytes in network order, IPv4
// as ::ffff:a.b.c.d.
func AddressKey(addr netip.Addr) bpf.WeirAddress {
	return bpf.WeirAddress{Bytes: addr.As16()}
}

// CidrKey returns a masked prefix as the map of prefixes has it. The length of
// an IPv4 prefix grows by the 96 bits before it.
func CidrKey(p netip.Prefix) bpf.WeirCidrKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return bpf.WeirCidrKey{PrefixLen: uint32(bits), Addr: p.Addr().As16()}
}

// Judge reads the tables as the programs do for the first packet of a flow
// between subject and peer. Port is that of the destination, in host order;
// protocols without ports ignore it. Rule 0: none decided, since the subject
// is not isolated (set 0) or no rule allows it. An unknown subject is denied.
func (t *Tables) Judge(subject policy.ObjectKey, dir policy.Direction, peer netip.Addr, protocol policy.Protocol, port uint16) (allowed bool, rule resolve.RuleID, set resolve.SetID, class resolve.ClassID) {
	s, known := t.Subjects[subject]
	class = t.Class(peer)
	set, anyPeer := s.Ingress, s.IngressAny
	if dir == policy.Egress {
		set, anyPeer = s.Egress, s.EgressAny
	}
	if !known || set == 0 {
		return known, 0, set, class
	}
	switch protocol {
	case policy.TCP, policy.UDP, policy.SCTP:
	default:
		port = 0
	}
	rule, allowed = t.row(set, class, anyPeer, uint8(protocol), port)
	return allowed, rule, set, class
}

// row searches the first row that exists; it alone counts.
func (t *Tables) row(set resolve.SetID, class resolve.ClassID, anyPeer bool, protocol uint8, port uint16) (resolve.RuleID, bool) {
	keys := []bpf.WeirRowKey{{Set: uint32(set), Class: uint32(class), Protocol: protocol}, {Set: uint32(set), Class: uint32(class)}}
	if anyPeer {
		keys = append(keys, bpf.WeirRowKey{Set: uint32(set), Protocol: protocol}, bpf.WeirRowKey{Set: uint32(set)})
	}
	for _, key := range keys {
		if row, found := t.Rows[key]; found && row.Key == key {
			return t.search(row, port)
		}
	}
	return 0, false
}

func (t *Tables) search(row bpf.WeirRow, port uint16) (resolve.RuleID, bool) {
	for {
		for _, v := range row.Intervals[:row.Count] {
			if v.Lo <= port && port <= v.Hi {
				return resolve.RuleID(v.Rule), v.Action == uint8(bpf.WeirActionACTION_ALLOW)
			}
		}
		next := row.Key
		next.Page++
		more := row.More == 1
		if row = t.Rows[next]; !more || row.Key != next {
			return 0, false
		}
	}
}

// Class returns the class of an address: its own entry, else the longest
// prefix.
func (t *Tables) Class(addr netip.Addr) resolve.ClassID {
	addr = addr.Unmap().WithZone("")
	if p, found := t.Peers[AddressKey(addr)]; found {
		return resolve.ClassID(p.Class)
	}
	var class resolve.ClassID
	longest := -1
	for key, c := range t.Cidrs {
		if bits := int(key.PrefixLen); bits > longest && covers(key, addr) {
			class, longest = c, bits
		}
	}
	return class
}

// covers compares all 16 bytes, as the trie does: an IPv4 address is under
// ::ffff:0:0/96.
func covers(key bpf.WeirCidrKey, addr netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom16(key.Addr), int(key.PrefixLen)).Contains(netip.AddrFrom16(addr.As16()))
}
