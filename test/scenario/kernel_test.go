// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/packet"
)

// needRoot skips without root, or fails where the run must not skip.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("WEIR_KERNEL_TESTS=1, and this is not root")
	}
	t.Skip("needs root: loads BPF programs and makes network namespaces")
}

func machine(t testing.TB) *packet.Machine {
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
	all := shown{}
	each(t, func(t *testing.T, s Scenario) {
		e, err := NewPrograms(m)
		if err != nil {
			t.Fatal(err)
		}
		all.add(t, s.File, expect(t, s, e))
	})
	all.check(t, "programs")
}

func TestPackets(t *testing.T) {
	needRoot(t)
	for name, wiring := range map[string]netns.Wiring{"routed": netns.Routed, "bridged": netns.Bridged} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for packets
			stage, err := NewStage(fmt.Sprintf("sc%s%d", name[:1], os.Getpid()%100000), wiring, slog.New(slog.NewTextHandler(t.Output(), nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := stage.Close(); err != nil {
					t.Error(err)
				}
			}()
			all := shown{}
			each(t, func(t *testing.T, s Scenario) {
				e, err := NewPackets(stage)
				if err != nil {
					t.Fatal(err)
				}
				all.add(t, s.File, expect(t, s, e))
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			})
			all.check(t, "packets")
		})
	}
}
