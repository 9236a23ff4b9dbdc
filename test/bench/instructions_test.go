// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/node"
)

var update = flag.Bool("update", false, "write instructions.json anew; read it before the commit")

const (
	instructionsFile = "instructions.json"
	growthLimit      = 10 // percent
)

// size of a program. The object's is that of the compiler; the other two are
// the kernel's, and comparable on one kernel only: Verified is how many
// instructions the verifier walked, Translated what it left.
type size struct {
	Object     int `json:"object"`
	Translated int `json:"translated"`
	Verified   int `json:"verified"`
}

// instructionSizes is the committed file.
type instructionSizes struct {
	Kernel   string          `json:"kernel"` // major and minor
	Programs map[string]size `json:"programs"`
}

// TestInstructions fails where a program has grown by more than a tenth since
// the file was written. Times are too noisy to fail a build; these are not.
func TestInstructions(t *testing.T) {
	node.RequireKernel(t)
	now := measureSizes(t)
	if *update {
		raw, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(instructionsFile, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(instructionsFile)
	if err != nil {
		t.Fatal(err)
	}
	var then instructionSizes
	if err := json.Unmarshal(raw, &then); err != nil {
		t.Fatalf("%s: %v; go test ./test/bench -run TestInstructions -update writes it anew", instructionsFile, err)
	}
	if now.Kernel != then.Kernel {
		t.Logf("%s is of kernel %s, this is %s: only the object's instructions are compared", instructionsFile, then.Kernel, now.Kernel)
	}
	for _, growth := range grown(then, now) {
		t.Error(growth)
	}
	for name, is := range now.Programs {
		t.Logf("%-14s %6d in the object, %6d translated, %7d verified", name, is.Object, is.Translated, is.Verified)
	}
}

// grown says what grew by more than the limit, or is not in the file.
func grown(then, now instructionSizes) []string {
	var list []string
	for name, is := range now.Programs {
		was, known := then.Programs[name]
		if !known {
			list = append(list, fmt.Sprintf("%s is not in %s: run this test with -update", name, instructionsFile))
			continue
		}
		for _, row := range []struct {
			what        string
			was, is     int
			kernelBound bool
		}{{"in the object", was.Object, is.Object, false}, {"translated", was.Translated, is.Translated, true}, {"verified", was.Verified, is.Verified, true}} {
			if row.kernelBound && then.Kernel != now.Kernel {
				continue
			}
			if 100*row.is > (100+growthLimit)*row.was {
				list = append(list, fmt.Sprintf("%s has %d instructions %s, it had %d: more than %d %% growth; make it smaller, or run this test with -update and say why in the commit", name, row.is, row.what, row.was, growthLimit))
			}
		}
	}
	return list
}

func measureSizes(t *testing.T) instructionSizes {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(rlimit.RemoveMemlock())
	spec, err := bpf.LoadWeir()
	must(err)
	must(spec.Variables[bpf.WeirVarHaveForwardHook].Set(true))
	must(spec.Variables[bpf.WeirVarHaveConntrack].Set(bpf.ConntrackLookup() == nil))
	if err := bpf.NetfilterPrograms(); errors.Is(err, ebpf.ErrNotSupported) {
		t.Logf("left out: %v", err)
		delete(spec.Programs, bpf.WeirProgForward)
	}
	list := instructionSizes{Kernel: kernel(t), Programs: map[string]size{}}
	for name, p := range spec.Programs {
		list.Programs[name] = size{Object: len(p.Instructions)}
	}
	loaded, err := ebpf.NewCollection(spec)
	must(err)
	defer loaded.Close()
	for name, p := range loaded.Programs {
		info, err := p.Info()
		must(err)
		translated, err := info.Instructions()
		must(err)
		verified, _ := info.VerifiedInstructions() // 0 before 5.16
		list.Programs[name] = size{list.Programs[name].Object, len(translated), int(verified)}
	}
	return list
}

// kernel is "6.18" of "6.18.44-amd64".
func kernel(t *testing.T) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatalf("kernel release: %v", err)
	}
	return fmt.Sprintf("%d.%d", major, minor)
}

func TestGrowth(t *testing.T) {
	then := instructionSizes{"6.18", map[string]size{"p": {100, 100, 100}}}
	for _, row := range []struct {
		name   string
		kernel string
		size   size
		want   int
	}{
		{"the same", "6.18", size{100, 100, 100}, 0},
		{"at the limit", "6.18", size{110, 110, 110}, 0},
		{"beyond it", "6.18", size{100, 111, 111}, 2},
		{"another kernel", "6.1", size{100, 200, 200}, 0},
		{"another kernel, larger object", "6.1", size{111, 200, 200}, 1},
	} {
		got := grown(then, instructionSizes{row.kernel, map[string]size{"p": row.size}})
		if len(got) != row.want {
			t.Errorf("%s: %q, want %d", row.name, got, row.want)
		}
	}
	if got := grown(then, instructionSizes{"6.18", map[string]size{"new": {}}}); len(got) != 1 {
		t.Errorf("a program that is not in the file: %q, want one complaint", got)
	}
}
