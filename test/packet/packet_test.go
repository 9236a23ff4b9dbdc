// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The builder against a decoder: layers, in order, and no bytes left over.
func TestLayers(t *testing.T) {
	for _, f := range families() {
		network := map[bool]gopacket.LayerType{true: layers.LayerTypeIPv4, false: layers.LayerTypeIPv6}[f.is4()]
		for _, c := range []struct {
			name string
			p    Packet
			want []gopacket.LayerType
		}{
			{"TCP", f.tcp("A:1", "C:2", "S"), []gopacket.LayerType{network, layers.LayerTypeTCP}},
			{"UDP", UDP(f.port("A:1"), f.port("C:2")), []gopacket.LayerType{network, layers.LayerTypeUDP}},
			{"SCTP", f.sctp("A:1", "C:2"), []gopacket.LayerType{network, layers.LayerTypeSCTP}},
			{"one tag", f.tcp("A:1", "C:2", "S").Tag(9), []gopacket.LayerType{layers.LayerTypeDot1Q, network, layers.LayerTypeTCP}},
			{"two tags", f.tcp("A:1", "C:2", "S").ServiceTag(8).Tag(9), []gopacket.LayerType{layers.LayerTypeDot1Q, layers.LayerTypeDot1Q, network, layers.LayerTypeTCP}},
		} {
			frame := mustFrame(t, c.p)
			decoded := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			want := append([]gopacket.LayerType{layers.LayerTypeEthernet}, c.want...)
			if failed := decoded.ErrorLayer(); failed != nil {
				t.Errorf("%s %s: %v", f.name, c.name, failed.Error())
			}
			var got []gopacket.LayerType
			for _, layer := range decoded.Layers() {
				got = append(got, layer.LayerType())
			}
			if len(got) != len(want) {
				t.Errorf("%s %s: layers %v, want %v", f.name, c.name, got, want)
				continue
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s %s: layers %v, want %v", f.name, c.name, got, want)
				}
			}
		}
	}
}

// Fragments put together again are the packet.
func TestFragmentBytes(t *testing.T) {
	for _, f := range families() {
		p := f.udp("A:1000", "C:53").Pad(96)
		var got []byte
		for _, cut := range [][2]int{{0, 48}, {48, 96}, {96, 200}} {
			part := mustFrame(t, p.Fragment(7, cut[0], cut[1]))
			header, offset, more := 34, 0, false
			if f.is4() {
				field := binary.BigEndian.Uint16(part[20:])
				offset, more = int(field&0x1fff)*8, field&0x2000 != 0
			} else {
				header = 14 + 40 + 8
				field := binary.BigEndian.Uint16(part[14+40+2:])
				offset, more = int(field&^7), field&1 != 0
			}
			if offset != len(got) || more != (cut[1] < 108) {
				t.Errorf("%s: bytes %v: offset %d, more %v", f.name, cut, offset, more)
			}
			got = append(got, part[header:]...)
		}
		if !bytes.Equal(got, p.segment) {
			t.Errorf("%s: fragments make %x, not %x", f.name, got, p.segment)
		}
	}
}

// Checksums are right where the contract says so: IPv4 and ICMP sum to 0.
func TestChecksums(t *testing.T) {
	f := four()
	frame := mustFrame(t, f.echo("A", "O", 7).Options(3))
	if header := frame[14 : 14+32]; checksum(header) != 0 {
		t.Errorf("IPv4 header %x: sum %#x", header, checksum(header))
	}
	if message := frame[14+32:]; checksum(message) != 0 {
		t.Errorf("ICMP %x: sum %#x", message, checksum(message))
	}
}

// The value stays what it was when another is made from it.
func TestPacketIsAValue(t *testing.T) {
	p := four().tcp("A:1", "C:2", "S").Tag(1)
	before := mustFrame(t, p)
	_, _ = p.Tag(2).Frame()
	_, _ = p.Pad(9).Frame()
	_, _ = p.Set(30, 1, 2, 3).Frame()
	_, _ = p.Cut(20).Frame()
	if after := mustFrame(t, p); !bytes.Equal(before, after) {
		t.Errorf("frame was %x, is %x", before, after)
	}
}

func TestPacketErrors(t *testing.T) {
	mixed := TCP(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[fd00::1]:1"), SYN)
	for name, p := range map[string]Packet{
		"two families":         mixed,
		"IPv4 with extensions": four().udp("A:1", "C:1").Extend(Extension{HopByHop, 8}),
		"a quoted bad packet":  Unreachable(four().at("X"), four().at("A"), mixed),
	} {
		if frame, err := p.Frame(); err == nil {
			t.Errorf("%s: %x, and no error", name, frame)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no ticks": func(o *Options) { o.TicksPerSecond = 0 }, "no flows": func(o *Options) { o.Flows = 0 },
		"odd ring": func(o *Options) { o.RingBytes = 5000 }, "small ring": func(o *Options) { o.RingBytes = 64 },
		"no links": func(o *Options) { o.Links = 0 },
	} {
		o := Defaults()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		matches   bool
	}{
		{"allowed rule new", "allowed rule new", true}, {"allowed rule", "allowed rule new", false}, {"allowed * new", "allowed rule new", true},
		{"allowed *", "denied rule", false}, {"denied ...", "denied revoked revoked", true}, {"denied ...", "allowed rule", false}, {"denied ...", "denied", true},
	} {
		if matches(c.want, c.got) != c.matches {
			t.Errorf("%q and %q: want %v", c.want, c.got, c.matches)
		}
	}
}

func mustFrame(t *testing.T, p Packet) []byte {
	t.Helper()
	frame, err := p.Frame()
	if err != nil {
		t.Fatal(err)
	}
	return frame
}
