// SPDX-License-Identifier: Apache-2.0

package floor

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// udp is a datagram in an Ethernet frame.
func udp(from, to netip.AddrPort) []byte {
	const payload = 18
	if from.Addr().Is4() {
		frame := make([]byte, 14+20+8+payload)
		frame[12], frame[13], frame[14], frame[23] = 0x08, 0x00, 0x45, unix.IPPROTO_UDP
		copy(frame[26:], from.Addr().AsSlice())
		copy(frame[30:], to.Addr().AsSlice())
		return ports(frame, 34, from, to)
	}
	frame := make([]byte, 14+40+8+payload)
	frame[12], frame[13], frame[14], frame[20] = 0x86, 0xdd, 0x60, unix.IPPROTO_UDP
	copy(frame[22:], from.Addr().AsSlice())
	copy(frame[38:], to.Addr().AsSlice())
	return ports(frame, 54, from, to)
}

func ports(frame []byte, at int, from, to netip.AddrPort) []byte {
	binary.BigEndian.PutUint16(frame[at:], from.Port())
	binary.BigEndian.PutUint16(frame[at+2:], to.Port())
	return frame
}

// TestTrack: a flow has one entry for both ways, which counts each of them, and
// one event; another flow has its own.
func TestTrack(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := LoadFloor()
	if err != nil {
		t.Fatal(err)
	}
	spec.Maps[FloorMapFlows].MaxEntries = 8
	var objects struct {
		FromPod *ebpf.Program `ebpf:"floor_from_pod"`
		ToPod   *ebpf.Program `ebpf:"floor_to_pod"`
		Flows   *ebpf.Map     `ebpf:"flows"`
		Events  *ebpf.Map     `ebpf:"events_allowed"`
	}
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		objects.FromPod.Close()
		objects.ToPod.Close()
		objects.Flows.Close()
		objects.Events.Close()
	}()
	events, err := ringbuf.NewReader(objects.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	run := func(p *ebpf.Program, from, to string) {
		t.Helper()
		outcome, err := p.Run(&ebpf.RunOptions{Data: udp(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))})
		if err != nil || int32(outcome) != -1 {
			t.Fatalf("%s to %s: %d, %v", from, to, int32(outcome), err)
		}
	}
	for range 3 {
		run(objects.FromPod, "10.0.0.1:1000", "10.0.0.2:53")
		run(objects.ToPod, "10.0.0.2:53", "10.0.0.1:1000")
	}
	run(objects.FromPod, "[2001:db8::1]:1000", "[2001:db8::2]:53")
	run(objects.ToPod, "[2001:db8::2]:53", "[2001:db8::1]:1000")
	run(objects.ToPod, "10.0.0.3:53", "10.0.0.1:1000")

	packets := map[[2]uint64]int{}
	var key FloorFlowKey
	var flow FloorFlow
	entries := objects.Flows.Iterate()
	for entries.Next(&key, &flow) {
		packets[[2]uint64{flow.TxPackets, flow.RxPackets}]++
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	// The packet that makes an entry is in its event.
	want := map[[2]uint64]int{{2, 3}: 1, {0, 1}: 1, {0, 0}: 1}
	for counts, n := range want {
		if packets[counts] != n || len(packets) != len(want) {
			t.Fatalf("entries by packets sent and received: %v, want %v", packets, want)
		}
	}
	events.SetDeadline(time.Unix(1, 0)) // past: it looks without waiting
	told := 0
	for ; err == nil; told++ {
		_, err = events.Read()
	}
	if told-1 != len(want) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d events and %v, want %d", told-1, err, len(want))
	}
}
