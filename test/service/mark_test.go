// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/test/netns"
)

// A flow that policy allows is known, and then something that the agent has not
// heard of begins to translate its destination, past conntrack: its next
// packet is judged by where it leads.
func TestUnforeseenTranslation(t *testing.T) {
	eachHook(t, "svm", func(t *testing.T, s *stage) {
		for name, f := range families() {
			s.mislead(name+", another pod", f, "bad", 8080+1)
			s.mislead(name+", another port", f, "good", 8080+1)
		}
	})
}

func (s *stage) mislead(name string, f family, to string, toPort uint16) {
	s.t.Helper()
	there := s.datagrams(s.pods[to].Namespace, f.at(to, toPort))
	defer there.Close()
	conn, port, err := s.dial(s.pods["client"].Namespace, "udp", f["client"], f.at("good", 8080), answerLimit)
	must(s.t, err)
	defer conn.Close()
	for range 3 {
		must(s.t, echoed(conn))
	}
	remove := s.rewrite(f, port, f.at(to, toPort))
	for range 3 {
		must(s.t, ignoreRefusal(conn.Write([]byte("weir"))))
		if _, got := receive(there); got {
			s.t.Errorf("%s: the packet arrived, though policy denies it", name)
		}
	}
	s.told(port, fmt.Sprintf("%s %s", denied, f.at(to, toPort)))
	remove()
	if err := echoed(conn); err != nil {
		s.t.Errorf("%s: nothing is translated any more, and %v", name, err)
	}
}

// Nobody translates a Service's address, and a host outside has it: each packet
// is denied, not only the first.
func TestUntranslatedService(t *testing.T) {
	eachHook(t, "svu", func(t *testing.T, s *stage) {
		out, err := s.node.Outside.Link.LinkByName("eth0")
		must(t, err)
		for name, f := range families() {
			must(t, s.node.Outside.Link.AddrReplace(out, &netlink.Addr{IPNet: single(f["svc-unknown"]), Flags: unix.IFA_F_NODAD}))
			there := s.datagrams(s.node.Outside, f.at("svc-unknown", 80))
			defer there.Close()
			ask := func(pod string) func() bool {
				conn, _, err := s.dial(s.pods[pod].Namespace, "udp", f[pod], f.at("svc-unknown", 80), answerLimit)
				must(t, err)
				t.Cleanup(func() { conn.Close() })
				return func() bool {
					must(t, ignoreRefusal(conn.Write([]byte("weir"))))
					_, got := receive(there)
					return got
				}
			}
			if !await(answerLimit, ask("free")) {
				t.Fatalf("%s: nothing arrives, even from a pod that no policy selects: that proves nothing", name)
			}
			arrives := ask("client")
			for range 3 {
				if arrives() {
					t.Errorf("%s: a packet arrived, though policy denies it", name)
				}
			}
		}
	})
}

// echoed sends a datagram and reads one.
func echoed(conn net.Conn) error {
	if _, err := conn.Write([]byte("weir")); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 64))
	return err
}

// rewrite leads what the client sends from a port elsewhere, without conntrack.
func (s *stage) rewrite(f family, port uint16, to netip.AddrPort) (remove func()) {
	s.t.Helper()
	family := "ip"
	if to.Addr().Is6() {
		family = "ip6"
	}
	rules := fmt.Sprintf(`table %[1]s unforeseen {
	chain prerouting {
		type filter hook prerouting priority -350
		%[1]s saddr %[2]s udp sport %[3]d %[1]s daddr set %[4]s udp dport set %[5]d notrack
	}
}
`, family, f["client"], port, to.Addr(), to.Port())
	nftables := func(rules string) {
		must(s.t, s.node.Do(func() error {
			c := exec.Command("nft", "-f", "-")
			c.Stdin = strings.NewReader(rules)
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("nft: %w: %s", err, out)
			}
			return nil
		}))
	}
	nftables(rules)
	return func() { nftables(fmt.Sprintf("delete table %s unforeseen\n", family)) }
}

// A pod with privileges marks its packets itself, in the way that from_pod
// tells the programs behind translation that a packet is settled: with every
// mark that there is none passes to a backend that policy denies.
func TestForgedMarks(t *testing.T) {
	eachHook(t, "svf", func(t *testing.T, s *stage) {
		marks := forgeMarks(t, s.pods["client"].Namespace)
		for name, f := range families() {
			conn, _, err := s.dial(s.pods["client"].Namespace, "udp", f["client"], f.at("svc-bad", 80), answerLimit)
			must(t, err)
			defer conn.Close()
			before := s.seen["bad"].Load()
			const all = 1 << 16
			for range all + all/16 { // what else the pod sends takes some
				must(t, ignoreRefusal(conn.Write([]byte("weir"))))
			}
			time.Sleep(silence)
			if arrived := s.seen["bad"].Load() - before; arrived != 0 {
				t.Errorf("%s: %d packets arrived at a backend that policy denies", name, arrived)
			}
			var marked uint32
			must(t, marks.Lookup(uint32(0), &marked))
			if marked < all {
				t.Fatalf("%s: %d packets were marked, want at least %d", name, marked, all)
			}
			must(t, marks.Put(uint32(0), uint32(0)))
		}
	})
}

// ignoreRefusal: an error of an earlier packet is none of this one.
func ignoreRefusal(_ int, err error) error {
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "write" {
		return nil
	}
	return err
}

// forgeMarks gives each packet that leaves the namespace by eth0 another
// tc_index, and returns the map with the last one.
func forgeMarks(t *testing.T, ns *netns.Namespace) *ebpf.Map {
	t.Helper()
	marks, err := ebpf.NewMap(&ebpf.MapSpec{Name: "marks", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(t, err)
	t.Cleanup(func() { report(t, marks.Close()) })
	const offsetTCIndex = 44 // in struct __sk_buff
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "forge_marks", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, marks.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.Word),
		asm.StoreMem(asm.R6, offsetTCIndex, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_UNSPEC)).WithSymbol("out"), // TC_ACT_OK would write tc_index
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { report(t, program.Close()) })
	link, err := ns.Link.LinkByName("eth0")
	must(t, err)
	index := link.Attrs().Index
	must(t, ns.Link.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}))
	must(t, ns.Link.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "forge_marks", DirectAction: true,
	}))
	return marks
}
