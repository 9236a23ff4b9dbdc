// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

// Hook names one of the programs.
type Hook uint8

const (
	FromPod Hook = iota // what the pod sends: egress
	ToPod               // what the pod receives: ingress
)

func (h Hook) String() string {
	if h == FromPod {
		return "from_pod"
	}
	return "to_pod"
}

// Direction is the direction of the packets at the hook.
func (h Hook) Direction() bpf.WeirDirection {
	if h == FromPod {
		return bpf.WeirDirectionDIR_EGRESS
	}
	return bpf.WeirDirectionDIR_INGRESS
}

// Context is what the kernel tells a program beside the bytes.
type Context struct {
	Ifindex uint32 // the host veth; must be a Link of the Machine
	Ingress uint32 // where the packet came in; 0: sent by the node itself
	GSOSegs uint32 // 0: not a GSO packet
}

// ErrShort is for frames that the kernel's test run does not take: without a
// byte behind the Ethernet header, and on newer kernels also IP packets without
// their whole fixed header.
var ErrShort = errors.New("the frame is too short for a test run")

// longestRefused is an Ethernet and an IPv6 header.
const longestRefused = 14 + 40

// What the programs return.
const (
	returnPass uint32 = 0xffffffff // TCX_NEXT, TC_ACT_UNSPEC
	returnDrop uint32 = 2          // TC_ACT_SHOT
)

// Offsets in struct __sk_buff (linux/bpf.h), and its size. A test run rejects
// a context in which any other field is set.
const (
	offsetIngress = 36
	offsetIfindex = 40
	offsetGSOSegs = 164
	sizeContext   = 192
)

// Run runs a hook once on a frame. An error means that the run itself failed;
// Result.Check tells whether what it did is consistent.
func (m *Machine) Run(hook Hook, frame []byte, c Context) (Result, error) {
	r := Result{Hook: hook, Context: c, Frame: frame, Started: monotonic()}
	var err error
	if r.Returned, err = m.execute(hook, frame, c); err != nil {
		return r, err
	}
	r.Ended = monotonic()
	now, err := m.totals()
	if err != nil {
		return r, err
	}
	r.Counted = grown(m.seen.counters, now.counters)
	r.Dropped = grown(m.seen.drops, now.drops)
	for ring := range r.Rings {
		r.Rings[ring].Emitted = now.rings[ring].Emitted - m.seen.rings[ring].Emitted
		r.Rings[ring].Lost = now.rings[ring].Lost - m.seen.rings[ring].Lost
		r.Rings[ring].Suppressed = now.rings[ring].Suppressed - m.seen.rings[ring].Suppressed
	}
	m.seen = now
	return r, m.readEvents(&r)
}

// execute runs a hook and reads nothing of what it did.
func (m *Machine) execute(hook Hook, frame []byte, c Context) (uint32, error) {
	var returned uint32
	err := m.space.inside(func() error {
		var err error
		returned, err = m.program(hook).Run(&ebpf.RunOptions{Data: frame, Context: c.bytes(m.ingressAt), Repeat: 1})
		return err
	})
	if errors.Is(err, unix.EINVAL) && len(frame) < longestRefused {
		err = errors.Join(ErrShort, err)
	}
	if err != nil {
		return 0, fmt.Errorf("run %s on %d bytes: %w", hook, len(frame), err)
	}
	return returned, nil
}

// Passes runs a hook once on a frame and tells only whether the packet goes on:
// for millions of frames. What it counts shows up in the next Run; Reset before
// that.
func (m *Machine) Passes(hook Hook, frame []byte, c Context) (bool, error) {
	returned, err := m.execute(hook, frame, c)
	if err == nil && returned != returnPass && returned != returnDrop {
		err = fmt.Errorf("%s returned %d: neither pass (-1) nor drop (2)", hook, int32(returned))
	}
	return returned == returnPass, err
}

func (m *Machine) program(hook Hook) *ebpf.Program {
	if hook == ToPod {
		return m.objects.ToPod
	}
	return m.objects.FromPod
}

// RunPacket is Run on the frame of p.
func (m *Machine) RunPacket(hook Hook, p Packet, c Context) (Result, error) {
	frame, err := p.Frame()
	if err != nil {
		return Result{}, err
	}
	return m.Run(hook, frame, c)
}

func (m *Machine) readEvents(r *Result) error {
	var errs [2]error
	for ring := range r.Events {
		r.Events[ring], errs[ring] = m.drain(bpf.WeirRing(ring))
	}
	return errors.Join(errs[:]...)
}

func (c Context) bytes(ingressAt int) []byte {
	b := make([]byte, sizeContext)
	binary.NativeEndian.PutUint32(b[ingressAt:], c.Ingress)
	binary.NativeEndian.PutUint32(b[offsetIfindex:], c.Ifindex)
	binary.NativeEndian.PutUint32(b[offsetGSOSegs:], c.GSOSegs)
	return b
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of events.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}
