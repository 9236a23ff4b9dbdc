// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/packet"
)

// floodPackets are flows that policy allows, many times what the tables hold.
const floodPackets = 300_000

// One pod's flood of new flows evicts nothing of another pod's connection, and
// stays within the flooding pod's share.
func (s *stage) flood(t *testing.T) {
	s.StopFlows() // nobody is to read hundreds of thousands of flows
	echo, err := s.web.ServeEcho(8080)
	must(t, err)
	defer echo.Close()
	conn, err := s.friend.Dial("tcp", at(s.web.Addrs[0], 8080), patience)
	must(t, err)
	defer conn.Close()
	must(t, netns.Exchange(conn, "before", patience))
	local := netip.MustParseAddrPort(conn.LocalAddr().String())
	keys := []bpf.WeirFlowKey{
		s.flowKey(s.web, 0, 8080, local.Addr(), local.Port(), unix.IPPROTO_TCP),
		s.flowKey(s.friend, 0, local.Port(), s.web.Addrs[0], 8080, unix.IPPROTO_TCP),
	}
	var before []bpf.WeirFlow
	for _, key := range keys {
		before = append(before, s.flow(t, key))
	}

	began := time.Now()
	s.pourFlows(t)
	t.Logf("%d flows in %s", floodPackets, time.Since(began).Round(time.Millisecond))
	must(t, netns.Exchange(conn, "after", patience))
	for i, key := range keys {
		after := s.flow(t, key)
		if after.First != before[i].First || after.TxPackets <= before[i].TxPackets {
			t.Errorf("the entry of the connection is another one: %+v, and was %+v", after, before[i])
		}
	}
	s.withinShare(t)
}

// pourFlows sends each datagram from another port or to another port.
func (s *stage) pourFlows(t *testing.T) {
	t.Helper()
	p := packet.UDP(at(s.evil.Addrs[0], 1), at(outside[0], 9000))
	frame, err := p.Frame()
	must(t, err)
	w := s.wires["evil"]
	copy(frame, s.hop("evil", outside[0]))
	copy(frame[6:], w.MAC())
	binary.BigEndian.PutUint16(frame[40:], 0) // no checksum
	seen, err := s.Metric(`weir_packets_total{direction="egress",reason="rule"}`)
	must(t, err)
	for n := range floodPackets {
		binary.BigEndian.PutUint16(frame[34:], uint16(1024+n%50000))
		binary.BigEndian.PutUint16(frame[36:], uint16(9000+n/50000))
		must(t, w.Send(frame))
	}
	now, err := s.Metric(`weir_packets_total{direction="egress",reason="rule"}`)
	must(t, err)
	if now-seen < floodPackets/2 {
		t.Fatalf("%v new flows were counted: too few for a flood", now-seen)
	}
}

// withinShare counts the flooding pod's entries.
func (s *stage) withinShare(t *testing.T) {
	t.Helper()
	var key bpf.WeirFlowKey
	var flow bpf.WeirFlow
	m := s.flows(t)
	of := map[uint32]uint32{}
	entries := m.Iterate()
	for entries.Next(&key, &flow) {
		of[key.Ifindex]++
	}
	must(t, entries.Err())
	// A share is 1,024 entries at least; a sweep may give back a few.
	if n := of[uint32(s.evil.Ifindex)]; n == 0 || n > m.MaxEntries()/4 {
		t.Errorf("the flooding pod has %d of %d entries", n, m.MaxEntries())
	}
}
