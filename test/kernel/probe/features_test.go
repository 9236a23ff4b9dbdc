// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"

	"github.com/weirnet/weir/agent/datapath"
)

// offers are what a kernel may have, and how to see it: by trying.
var offers = []struct {
	name  string
	probe func() error
}{
	{"BTF of the kernel", func() error { _, err := btf.LoadKernelSpec(); return err }},
	{"ring buffer", func() error { return features.HaveMapType(ebpf.RingBuf) }},
	{"hash batches", func() error { return batch(ebpf.Hash) }},
	{"LPM trie batches", func() error { return batch(ebpf.LPMTrie) }},
	{"coarse clock", func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnKtimeGetCoarseNs) }},
	{"bpf_loop", func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnLoop) }},
	{"netfilter programs", func() error { return features.HaveProgramType(ebpf.Netfilter) }},
	{"conntrack kfunc", conntrack},
	{"ingress_ifindex in test runs", ingressInTestRun},
}

func TestFeatures(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatal("WEIR_KERNEL_TESTS=1, and this is not root")
		}
		t.Skip("needs root: loads programs and maps")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for _, o := range offers {
		switch err := o.probe(); {
		case err == nil:
			t.Logf("feature: %s: yes", o.name)
		case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, btf.ErrNotFound), errors.Is(err, errAbsent):
			t.Logf("feature: %s: no", o.name)
		default:
			t.Errorf("%s: cannot tell: %v", o.name, err)
		}
	}
	inUse(t)
}

// inUse loads the data path beside whatever runs, with pins of its own, and
// attaches nothing.
func inUse(t *testing.T) {
	pins, err := os.MkdirTemp("/sys/fs/bpf", "kernel-probe-*")
	if err != nil {
		t.Fatal(err)
	}
	options := datapath.Options{PinDir: pins, LockPath: filepath.Join(t.TempDir(), "lock"), Sizes: datapath.Sizes{Flows: 4096, Spill: 1024, Rows: 64, Ring: 1 << 16}}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	t.Cleanup(func() {
		if err := datapath.Cleanup(options, log); err != nil {
			t.Error(err)
		}
	})
	d, err := datapath.Load(options, log)
	if err != nil {
		var rejected *ebpf.VerifierError
		if errors.As(err, &rejected) {
			t.Logf("the verifier's log:\n%+v", rejected)
		}
		t.Fatal(err)
	}
	defer d.Close()
	for _, f := range d.Features() {
		t.Logf("feature: weir uses %s: %s", f.Name, yes(f.InUse))
	}
	if err := d.SelfTest(); err != nil {
		t.Error(err)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

var errAbsent = errors.New("not there")

// batch updates one entry of a map. Values of an LPM trie's key are a prefix
// length and an address.
func batch(kind ebpf.MapType) error {
	spec := &ebpf.MapSpec{Type: kind, KeySize: 8, ValueSize: 4, MaxEntries: 4}
	if kind == ebpf.LPMTrie {
		spec.Flags = 1 // BPF_F_NO_PREALLOC, which a trie must have
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.BatchUpdate([]uint64{0}, []uint32{1}, nil)
	return err
}

// conntrack is a function of the kernel or of its module nf_conntrack.
func conntrack() error {
	var fn *btf.Func
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	if kernel.TypeByName("bpf_skb_ct_lookup", &fn) == nil {
		return nil
	}
	module, err := btf.LoadKernelModuleSpec("nf_conntrack")
	if err != nil {
		return fmt.Errorf("%w: %w", errAbsent, err)
	}
	return module.TypeByName("bpf_skb_ct_lookup", &fn)
}

// ingressInTestRun: a context with ingress_ifindex of the loopback device.
func ingressInTestRun() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return err
	}
	defer p.Close()
	context := make([]byte, 192)
	context[36] = 1 // ingress_ifindex in struct __sk_buff
	if _, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64), Context: context}); err != nil {
		return fmt.Errorf("%w: %w", errAbsent, err)
	}
	return nil
}
