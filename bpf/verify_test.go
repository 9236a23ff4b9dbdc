// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// needsKernel skips without root; WEIR_KERNEL_TESTS=1 says that the test must
// not be skipped.
func needsKernel(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("WEIR_KERNEL_TESTS=1, but not root: loading programs needs it")
	}
	t.Skip("loading programs needs root")
}

// TestVerify loads each program under each set of constants that changes what
// the verifier sees: it removes what a constant makes unreachable.
func TestVerify(t *testing.T) {
	needsKernel(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	tracking := ConntrackLookup()
	t.Logf("conntrack lookup: %v", tracking)
	for _, row := range []struct {
		name      string
		constants map[string]any
		skip      error
	}{
		{"defaults", nil, nil},
		{"conntrack", map[string]any{WeirVarHaveConntrack: true}, tracking},
		{"conntrack strict", map[string]any{WeirVarHaveConntrack: true, WeirVarMidstreamStrict: true}, tracking},
		{"forward hook", map[string]any{WeirVarHaveForwardHook: true}, nil},
		{"no source check", map[string]any{WeirVarSourceCheck: false}, nil},
		{"keep existing", map[string]any{WeirVarRecheckExisting: false}, nil},
		{"1000 ticks", map[string]any{WeirVarTicksPerSecond: uint32(1000)}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if errors.Is(row.skip, ebpf.ErrNotSupported) {
				t.Skip(row.skip)
			}
			verify(t, row.constants)
		})
	}
}

func verify(t *testing.T, constants map[string]any) {
	t.Helper()
	spec, err := LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			t.Fatalf("set %s: %v", name, err)
		}
	}
	if err := NetfilterPrograms(); errors.Is(err, ebpf.ErrNotSupported) {
		t.Logf("forward: left out: %v", err)
		delete(spec.Programs, WeirProgForward)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	for name, program := range coll.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		translated, err := info.Instructions()
		if err != nil {
			t.Fatalf("%s: translated instructions: %v", name, err)
		}
		verified, known := info.VerifiedInstructions()
		if !known {
			t.Logf("%-8s %d instructions; the kernel does not say how many it verified (5.16)", name, len(translated))
			continue
		}
		t.Logf("%-8s %d instructions, %d verified", name, len(translated), verified)
	}
}

// Without the kernel's functions the calls must be gone, not only unused: an
// older kernel refuses a call that it does not know.
func TestNoConntrackCallsByDefault(t *testing.T) {
	needsKernel(t)
	if err := ConntrackLookup(); err != nil {
		t.Skipf("nothing to compare with: %v", err)
	}
	if got := kernelCalls(t, false); got != 0 {
		t.Errorf("%d calls of kernel functions without have_conntrack, want none", got)
	}
	if got := kernelCalls(t, true); got == 0 {
		t.Error("no calls of kernel functions with have_conntrack")
	}
}

func kernelCalls(t *testing.T, conntrack bool) int {
	t.Helper()
	spec, err := LoadWeir()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables[WeirVarHaveConntrack].Set(conntrack); err != nil {
		t.Fatal(err)
	}
	WithoutForward(spec)
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	info, err := coll.Programs[WeirProgToPod].Info()
	if err != nil {
		t.Fatal(err)
	}
	translated, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, instruction := range translated {
		if instruction.IsKfuncCall() {
			calls++
		}
	}
	return calls
}
