// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// feeder hands packets with the next tuple to a program.
type feeder struct {
	objects struct {
		FeedNext *ebpf.Program `ebpf:"feed_next"`
		Feeds    *ebpf.Map     `ebpf:"feeds"`
		Target   *ebpf.Map     `ebpf:"target"`
	}
}

func newFeeder(to *ebpf.Program) (*feeder, error) {
	f := &feeder{}
	if err := LoadFeedObjects(&f.objects, nil); err != nil {
		return nil, fmt.Errorf("load the program that feeds: %w", err)
	}
	if err := f.objects.Target.Put(uint32(0), to); err != nil {
		return nil, errors.Join(fmt.Errorf("feed %s: %w", to, err), f.close())
	}
	return f, nil
}

// set says which tuples come next.
func (f *feeder) set(feed FeedFeed) error { return f.objects.Feeds.Put(uint32(0), feed) }

func (f *feeder) close() error {
	return errors.Join(f.objects.FeedNext.Close(), f.objects.Feeds.Close(), f.objects.Target.Close())
}

// newEmpty is the program that all others are compared with: it passes.
func newEmpty() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
}

// What the programs return.
const (
	passed   uint32 = 0xffffffff // TCX_NEXT
	denied   uint32 = 2          // TC_ACT_SHOT
	accepted uint32 = 1          // NF_ACCEPT
)

// runner is a program that is measured.
type runner struct {
	name    string // in results
	program *ebpf.Program
	feeder  *feeder // to it; nil: one flow alone
}

// arrivalAt is struct __sk_buff (linux/bpf.h) for a test run.
func arrivalAt(ifindex, ingress uint32) []byte {
	const offsetIngress, offsetIfindex, size = 36, 40, 192
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b[offsetIngress:], ingress)
	binary.NativeEndian.PutUint32(b[offsetIfindex:], ifindex)
	return b
}

// run is ns a packet in CPU time of the thread: other load does not count, and
// the kernel's own measure has no fractions. The caller is bound to its thread.
func run(program *ebpf.Program, frame, arrival []byte, packets int, want uint32) (float64, error) {
	// A signal ends a test run early, and it would be begun anew. Go's
	// scheduler sends some.
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		return 0, fmt.Errorf("block signals: %w", err)
	}
	begin := threadTime()
	returned, err := program.Run(&ebpf.RunOptions{Data: frame, Context: arrival, Repeat: uint32(packets)})
	took := threadTime() - begin
	if err == nil && returned != want {
		err = fmt.Errorf("it returned %d for the last packet, want %d", int32(returned), int32(want))
	}
	if err := errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)); err != nil {
		return 0, fmt.Errorf("run %s: %w", program, err)
	}
	return float64(took) / float64(packets), nil
}

// threadTime is ns of CPU that the thread has used.
func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return t.Nano()
}
