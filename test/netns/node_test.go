// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

// RequireRoot skips a test that needs root, or fails it where such tests must run.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("needs root, and WEIR_KERNEL_TESTS=1 forbids to skip")
	}
	t.Skip("needs root: makes network namespaces")
}

func TestTrafficWithoutWeir(t *testing.T) {
	requireRoot(t)
	for name, wiring := range map[string]Wiring{"routed": Routed, "bridged": Bridged} {
		t.Run(name, func(t *testing.T) {
			node, err := NewNode("nt"+name[:1], Options{Wiring: wiring})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := node.Close(); err != nil {
					t.Error(err)
				}
			}()
			a, err := node.AddPod("a", netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("fd00:10:244:1::10"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := node.AddPod("b", netip.MustParseAddr("10.244.1.11"), netip.MustParseAddr("fd00:10:244:1::11"))
			if err != nil {
				t.Fatal(err)
			}
			for _, ns := range []*Namespace{a.Namespace, b.Namespace, node.Outside, node.Namespace} {
				echo, err := ns.ServeEcho(8080)
				if err != nil {
					t.Fatal(err)
				}
				defer echo.Close()
			}
			for _, row := range []struct {
				from *Namespace
				to   string
			}{
				{a.Namespace, "10.244.1.11"},
				{a.Namespace, "fd00:10:244:1::11"},
				{b.Namespace, "10.244.1.10"},
				{a.Namespace, "192.168.77.2"},
				{a.Namespace, "fd00:77::2"},
				{a.Namespace, "192.168.77.1"},
				{node.Outside, "10.244.1.10"},
				{node.Outside, "fd00:10:244:1::10"},
				{node.Namespace, "10.244.1.10"},
				{node.Namespace, "fd00:10:244:1::10"},
			} {
				for _, network := range []string{"tcp", "udp"} {
					if err := row.from.Try(network, netip.AddrPortFrom(netip.MustParseAddr(row.to), 8080), 3*time.Second); err != nil {
						t.Errorf("%s -> %s %s: %v", row.from.Name, row.to, network, err)
					}
				}
			}
		})
	}
}
