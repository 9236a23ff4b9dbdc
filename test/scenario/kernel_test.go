// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"os"
	"testing"

	"github.com/weirnet/weir/test/packet"
)

// needRoot skips without root, or fails where the run must not skip.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("WEIR_KERNEL_TESTS=1, and this is not root")
	}
	t.Skip("needs root: loads BPF programs and makes network namespaces")
}

func machine(t *testing.T) *packet.Machine {
	t.Helper()
	needRoot(t)
	o := packet.Defaults()
	o.Links = Links
	m, err := packet.NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestPrograms(t *testing.T) {
	m := machine(t)
	each(t, func(t *testing.T, s Scenario) {
		e, err := NewPrograms(m)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, e)
	})
}
