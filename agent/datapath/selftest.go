// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// What programs return: -1 (TCX_NEXT, TC_ACT_UNSPEC) goes on along the chain,
// 2 (TC_ACT_SHOT) drops.
const (
	codePass = ^uint32(0)
	codeDrop = uint32(2)
)

// probe is a packet of the self test, as a pod behind the loopback device
// would send or receive it.
type probe struct {
	name     string
	hook     Hook
	src, dst netip.Addr
	port     uint16 // destination
	want     uint32
	reason   bpf.WeirReason // that it is counted under
}

// Addresses of TEST-NET-1, which nobody has (RFC 5737).
var (
	probePod   = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	probePeer  = netip.AddrFrom4([4]byte{192, 0, 2, 2})
	probeOther = netip.AddrFrom4([4]byte{192, 0, 2, 3})
)

const (
	probeSource = 40001
	openPort    = 4
	shutPort    = 5
)

func probes() []probe {
	return []probe{
		{"an allowed port to the pod", ToPod, probePeer, probePod, openPort, codePass, bpf.WeirReasonREASON_RULE},
		{"a denied port to the pod", ToPod, probePeer, probePod, shutPort, codeDrop, bpf.WeirReasonREASON_NO_RULE},
		{"an allowed port from the pod", FromPod, probePod, probePeer, openPort, codePass, bpf.WeirReasonREASON_RULE},
		{"a denied port from the pod", FromPod, probePod, probePeer, shutPort, codeDrop, bpf.WeirReasonREASON_NO_RULE},
		{"a foreign source from the pod", FromPod, probeOther, probePeer, openPort, codeDrop, bpf.WeirReasonREASON_SPOOFED},
	}
}

// SelfTest runs packets of a made-up pod through the loaded programs and the
// live maps, by BPF_PROG_TEST_RUN: an allowed and a denied port each way, and
// a source that is not the pod's. The pod stands at the loopback device, to
// which nothing is attached; its set id is reserved; Events leaves its events
// out, and Counters its packets. Nothing of it stays.
func (d *Datapath) SelfTest() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.placeProbePod()
	if err == nil {
		err = d.runProbes()
	}
	if err = errors.Join(err, d.removeProbePod()); err != nil {
		return fmt.Errorf("self test: %w", err)
	}
	return nil
}

func probeRow() bpf.WeirRow {
	row := bpf.WeirRow{Key: bpf.WeirRowKey{Set: reservedSet, Protocol: uint8(policy.TCP)}, Count: 1}
	row.Intervals[0].Lo, row.Intervals[0].Hi = openPort, openPort
	row.Intervals[0].Rule = ^uint32(0)
	row.Intervals[0].Action = uint8(bpf.WeirActionACTION_ALLOW)
	return row
}

func (d *Datapath) placeProbePod() error {
	if owner, ok := d.tables.local[probePod]; ok {
		return fmt.Errorf("interface %d has %s, an address for documentation that the test needs", owner, probePod)
	}
	if err := d.room(bpf.WeirMapRows, d.tables.rows+1); err != nil {
		return err
	}
	if err := d.grantShare(selfTestSlot); err != nil {
		return err
	}
	row := probeRow()
	return errors.Join(
		d.maps[bpf.WeirMapRows].Put(row.Key, row),
		d.maps[bpf.WeirMapLocalIps].Put(addressKey(probePod), bpf.WeirOwner{Address: addressKey(probePod), Ifindex: loopback}),
		d.maps[bpf.WeirMapEndpoints].Put(uint32(loopback), bpf.WeirEndpoint{
			Ifindex: loopback, SetIngress: reservedSet, SetEgress: reservedSet, Slot: selfTestSlot, Mode: uint8(bpf.WeirModeMODE_ENFORCE),
			Flags: uint8(bpf.WeirEndpointFlagEP_INGRESS_ANY | bpf.WeirEndpointFlagEP_EGRESS_ANY),
		}))
}

func (d *Datapath) runProbes() error {
	var errs []error
	for _, p := range probes() {
		if p.reason == bpf.WeirReasonREASON_SPOOFED && d.opts.SkipSourceCheck {
			continue
		}
		packet := p.packet()
		got, err := d.runProbe(p, packet)
		if err != nil {
			return err
		}
		d.countProbe(p, len(packet)-ethernetHeader)
		if got != p.want {
			errs = append(errs, fmt.Errorf("%s answered %d to %s, want %d", p.hook, int32(got), p.name, int32(p.want)))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) countProbe(p probe, bytes int) {
	key := countKey{policy.Egress, p.reason}
	if p.hook == ToPod {
		key.direction = policy.Ingress
	}
	own := d.ownCounts[key]
	own.Packets++
	own.Bytes += uint64(bytes)
	d.ownCounts[key] = own
}

// runProbe keeps readers of Lost away until its event is known as the self
// test's own: a counter that goes back looks like one that began anew.
func (d *Datapath) runProbe(p probe, packet []byte) (uint32, error) {
	d.eventMu.Lock()
	defer d.eventMu.Unlock()
	got, err := d.program[p.hook].Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		return got, fmt.Errorf("run %s on %s: %w", p.hook, p.name, err)
	}
	ring := bpf.WeirRingRING_DENIED
	if got == codePass {
		ring = bpf.WeirRingRING_ALLOWED
	}
	d.ownEvents[ring]++
	return got, nil
}

func (d *Datapath) removeProbePod() error {
	errs := []error{
		d.maps[bpf.WeirMapEndpoints].Delete(uint32(loopback)),
		d.maps[bpf.WeirMapLocalIps].Delete(addressKey(probePod)),
		d.maps[bpf.WeirMapRows].Delete(probeRow().Key),
	}
	for _, p := range probes() {
		errs = append(errs,
			d.maps[bpf.WeirMapFlows].Delete(p.flow()),
			d.maps[bpf.WeirMapFlowsSpill].Delete(p.flow()),
			d.maps[bpf.WeirMapDrops].Delete(p.drop()))
	}
	var failed []error
	for _, err := range errs {
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			failed = append(failed, fmt.Errorf("clean up: %w", err))
		}
	}
	return errors.Join(failed...)
}

func (p probe) flow() bpf.WeirFlowKey {
	key := bpf.WeirFlowKey{
		Ifindex: loopback, Protocol: uint8(policy.TCP), Local: p.src.As16(), Remote: p.dst.As16(),
		LocalPort: bigEndian(probeSource), RemotePort: bigEndian(p.port),
	}
	if p.hook == ToPod {
		key.Local, key.Remote = key.Remote, key.Local
		key.LocalPort, key.RemotePort = key.RemotePort, key.LocalPort
	}
	return key
}

func (p probe) drop() bpf.WeirDropKey {
	key := bpf.WeirDropKey{Ifindex: loopback, Direction: uint8(policy.Egress), Reason: uint8(p.reason)}
	if p.hook == ToPod {
		key.Direction = uint8(policy.Ingress)
	}
	return key
}

const ethernetHeader = 14

// packet is a TCP SYN in IPv4 in Ethernet. Checksums are left 0: the programs
// do not look at them.
func (p probe) packet() []byte {
	b := make([]byte, ethernetHeader, 64)
	b[12], b[13] = 0x08, 0x00 // IPv4
	src, dst := p.src.As4(), p.dst.As4()
	b = append(b, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, byte(policy.TCP), 0, 0) // don't fragment
	b = append(append(b, src[:]...), dst[:]...)
	b = binary.BigEndian.AppendUint16(b, probeSource)
	b = binary.BigEndian.AppendUint16(b, p.port)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 0x02, 0xff, 0xff, 0, 0, 0, 0) // SYN
	return b
}
