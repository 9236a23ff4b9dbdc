// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/test/packet"
)

// eventKey is what an event and a probe have in common.
type eventKey struct {
	ifindex       uint32
	direction     uint8
	local, remote bpf.WeirAddress
	protocol      uint8
	port          uint16 // of the source, or the identifier; network order
}

func (p *Packets) keyOf(d policy.Direction, probe Probe, serial uint16) eventKey {
	subject, peer := probe.End(d)
	if probe.SourcePort != 0 {
		serial = probe.SourcePort
	}
	k := eventKey{direction: uint8(d), local: compile.AddressKey(subject.Addr), remote: compile.AddressKey(peer.Addr), protocol: uint8(probe.Protocol)}
	if s := p.stage.find(subject.Addr); s != nil {
		k.ifindex = uint32(s.pod.Ifindex)
	}
	if hasIdentity(probe.Protocol) {
		k.port = packet.Port(serial)
	}
	return k
}

// take keeps an event; it is called by the reader of the rings.
func (s *Stage) take(e bpf.WeirEvent) {
	k := eventKey{
		ifindex: e.Ifindex, direction: e.Direction, local: bpf.WeirAddress{Bytes: e.Local}, remote: bpf.WeirAddress{Bytes: e.Remote},
		protocol: e.Protocol, port: e.LocalPort,
	}
	if policy.Direction(e.Direction) == policy.Ingress {
		k.port = e.RemotePort
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[k] = e
}

func (s *Stage) event(k eventKey) (bpf.WeirEvent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.events[k]
	return e, ok
}

// forget what arrived and was told before.
func (s *Stage) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.events)
	for _, w := range s.taps() {
		w.read = nil
	}
}
