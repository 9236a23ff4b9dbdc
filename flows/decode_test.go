// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/weirnet/weir/bpf"
)

// record is an event as a program lays it out: offsets from struct event in
// bpf/src/types.h, written out so that they are not taken from the code under
// test.
func record(change ...func(b []byte)) []byte {
	b := make([]byte, 104)
	n := binary.NativeEndian
	n.PutUint64(b[0:], 5_000_000_123)                                                // time
	n.PutUint32(b[8:], 42)                                                           // ifindex
	copy(b[12:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x01\x00\x05") // local 10.1.0.5
	copy(b[28:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x02\x00\x06") // remote 10.2.0.6
	binary.BigEndian.PutUint16(b[44:], 40000)                                        // local_port
	binary.BigEndian.PutUint16(b[46:], 443)                                          // remote_port
	b[48], b[49], b[50], b[51], b[52] = 6, 1, 1, 0, 32                               // TCP, new, egress, denied, no rule
	b[54], b[55] = 0x02, 2                                                           // SYN; flow flags
	b[56], b[57] = 3, 4                                                              // ICMP type and code
	binary.BigEndian.PutUint16(b[58:], 0x0800)                                       // ethertype
	n.PutUint32(b[60:], 7)                                                           // set
	n.PutUint32(b[64:], 8)                                                           // rule
	n.PutUint32(b[68:], 9)                                                           // class
	n.PutUint32(b[72:], 60)                                                          // length
	n.PutUint32(b[76:], 11)                                                          // repeats
	binary.BigEndian.PutUint16(b[80:], 80)                                           // service_port
	copy(b[84:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x60\x00\x01") // service 10.96.0.1
	for _, c := range change {
		c(b)
	}
	return b
}

func set(offset int, value byte) func([]byte) { return func(b []byte) { b[offset] = value } }

func TestDecodeReadsEveryField(t *testing.T) {
	ev, err := Decode(record())
	if err != nil {
		t.Fatal(err)
	}
	v4 := func(a, b, c, d byte) [16]byte { return [16]byte{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d} }
	want := bpf.WeirEvent{
		Time: 5_000_000_123, Ifindex: 42,
		Local: v4(10, 1, 0, 5), Remote: v4(10, 2, 0, 6), Service: v4(10, 96, 0, 1),
		LocalPort: fromNetwork(40000), RemotePort: fromNetwork(443), ServicePort: fromNetwork(80),
		Protocol: 6, Kind: 1, Direction: 1, Verdict: 0, Reason: 32, Initiator: 0,
		TcpFlags: 2, FlowFlags: 2, IcmpType: 3, IcmpCode: 4, Ethertype: fromNetwork(0x0800),
		Set: 7, Rule: 8, Class: 9, Length: 60, Repeats: 11,
	}
	if ev != want {
		t.Errorf("got  %+v\nwant %+v", ev, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		record []byte
		says   string
	}{
		{"nothing", nil, "0 bytes, not 104"},
		{"a byte short", record()[:103], "103 bytes, not 104"},
		{"a byte long", append(record(), 0), "105 bytes, not 104"},
		{"kind 0", record(set(49, 0)), "kind 0"},
		{"kind 4", record(set(49, 4)), "kind 4"},
		{"direction 2", record(set(50, 2)), "direction 2"},
		{"verdict 3", record(set(51, 3)), "verdict 3"},
		{"reason 48", record(set(52, 48)), "reason 48"},
		{"reason 255", record(set(52, 255)), "reason 255"},
		{"initiator 2", record(set(53, 2)), "initiator 2"},
	} {
		ev, err := Decode(row.record)
		if !errors.Is(err, ErrEvent) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: error %v does not say %q", row.name, err, row.says)
		}
		if ev != (bpf.WeirEvent{}) {
			t.Errorf("%s: an event came with the error: %+v", row.name, ev)
		}
	}
}

// FuzzDecode: whatever a ring holds, decoding and enriching it does not panic,
// and what is accepted has a place in every enum.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(record())
	f.Add(record(set(53, 1), set(48, 58)))
	f.Add(record()[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrEvent) {
				t.Fatalf("error %v is not an ErrEvent", err)
			}
			return
		}
		flow := newEnricher(t, &names{}).Flow(&ev)
		if flow.Verdict > Audited || flow.Kind == 0 || flow.Direction > 1 || flow.Reason >= bpf.WeirReasonREASON_COUNT {
			t.Fatalf("accepted %+v", flow)
		}
		filter, err := Compile(Query{Filter: FilterSpec{Ports: []uint32{1}, Policies: []string{"a/b"}, Reasons: []Reason{1}}})
		if err != nil {
			t.Fatal(err)
		}
		filter.Matches(flow)
	})
}
