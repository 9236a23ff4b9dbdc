// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/test/node"
)

func nodad(a netip.Addr) int {
	if a.Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// inventory is everything that pods leave a trace in.
type inventory map[string]float64

// goroutines and files of the agent that may come and go at any time, as
// requests and timers do.
const slack = 3

// inventory counts what is there: entries in the kernel's maps, not what the
// agent believes of them; pins; goroutines and files of the agent.
func (s *stage) inventory() inventory {
	s.t.Helper()
	out := inventory{}
	for _, name := range []string{
		bpf.WeirMapEndpoints, bpf.WeirMapLocalIps, bpf.WeirMapPeers, bpf.WeirMapCidrs, bpf.WeirMapRows, bpf.WeirMapTunnels,
	} {
		out["map "+name] = float64(s.entries(name))
	}
	out["flows of veths that are gone"] = float64(s.orphans())
	pins := 0
	must(s.t, filepath.WalkDir(s.agent.Pins, func(string, fs.DirEntry, error) error { pins++; return nil }))
	out["pins"] = float64(pins)
	for _, sample := range []string{
		"go_goroutines", "process_open_fds", `weir_endpoints{state="enforced"}`, `weir_endpoints{state="notready"}`, `weir_endpoints{state="unmanaged"}`,
		`weir_map_entries{map="endpoints"}`, `weir_map_entries{map="peers"}`, `weir_map_entries{map="rows"}`, `weir_map_entries{map="local_ips"}`,
	} {
		value, err := s.Metric(sample)
		must(s.t, err)
		out[sample] = value
	}
	return out
}

// same waits until the inventory is no more than it was; the sweep of flows comes every
// 5 s.
func (s *stage) same(before inventory) {
	s.t.Helper()
	deadline := time.Now().Add(2 * limit)
	for {
		now := s.inventory()
		var differs []string
		for _, name := range slices.Sorted(maps.Keys(before)) {
			extra := now[name] - before[name]
			if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
				if extra <= slack {
					continue
				}
			}
			// Fewer is no leak: the first look may have seen an address of the
			// node that was on its way out with the first pod's veth.
			if extra > 0 {
				differs = append(differs, fmt.Sprintf("%s: %v, and was %v", name, now[name], before[name]))
			}
		}
		if len(differs) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("left behind by pods that are gone: %s; peers: %v", strings.Join(differs, "; "), s.peers())
		}
		time.Sleep(50 * time.Millisecond) // looked at again, until the deadline
	}
}

// pinned opens the one map of that name.
func (s *stage) pinned(name string) *ebpf.Map {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.agent.Pins, "*", name))
	must(s.t, err)
	if len(found) != 1 {
		s.t.Fatalf("%d pins of map %s in %s", len(found), name, s.agent.Pins)
	}
	m, err := ebpf.LoadPinnedMap(found[0], nil)
	must(s.t, err)
	return m
}

func (s *stage) entries(name string) int {
	s.t.Helper()
	m := s.pinned(name)
	defer m.Close()
	n := 0
	key, err := m.NextKeyBytes(nil)
	for ; err == nil && key != nil; key, err = m.NextKeyBytes(key) {
		n++
	}
	must(s.t, err)
	return n
}

// peers are the addresses in that map, for the message of a failed test.
func (s *stage) peers() (out []string) {
	s.t.Helper()
	m := s.pinned(bpf.WeirMapPeers)
	defer m.Close()
	var key bpf.WeirAddress
	var peer bpf.WeirPeer
	for entries := m.Iterate(); entries.Next(&key, &peer); {
		out = append(out, fmt.Sprintf("%s class %d flags %d", netip.AddrFrom16(key.Bytes).Unmap(), peer.Class, peer.Flags))
	}
	return out
}

// orphans counts flow entries of interfaces that are not on the node.
func (s *stage) orphans() int {
	s.t.Helper()
	links, err := s.node.Link.LinkList()
	must(s.t, err)
	there := map[uint32]bool{}
	for _, l := range links {
		there[uint32(l.Attrs().Index)] = true
	}
	m := s.pinned(bpf.WeirMapFlows)
	defer m.Close()
	n := 0
	var key bpf.WeirFlowKey
	var flow bpf.WeirFlow
	entries := m.Iterate()
	for entries.Next(&key, &flow) {
		if !there[key.Ifindex] {
			n++
		}
	}
	must(s.t, entries.Err())
	return n
}

// gone: the data path knows the interface no more.
func (s *stage) gone(ifindex int) {
	s.t.Helper()
	s.await(fmt.Sprintf("interface %d is gone", ifindex), func() bool {
		m := s.pinned(bpf.WeirMapEndpoints)
		defer m.Close()
		var e bpf.WeirEndpoint
		return errors.Is(m.Lookup(uint32(ifindex), &e), ebpf.ErrKeyNotExist)
	})
}

// settled is the inventory after a pod has come and gone: some addresses of
// the node itself, as fe80::, give no notice and are learned with the next
// change.
func (s *stage) settled() inventory {
	s.t.Helper()
	pod := s.add("nobody", "client", 19)
	s.inForce("nobody")
	s.passes("the first pod", pod, s.server)
	s.remove(pod, "nobody")
	s.gone(pod.Ifindex)
	first := node.Dual(19)[0].String() + " "
	s.await("the first pod is forgotten", func() bool {
		named := slices.ContainsFunc(s.peers(), func(peer string) bool { return strings.HasPrefix(peer, first) })
		waiting, err := s.Metric(`weir_endpoints{state="notready"}`)
		must(s.t, err)
		return !named && waiting == 0 && s.orphans() == 0
	})
	return s.inventory()
}

// generation grows with every change that the agent has applied.
func (s *stage) generation() float64 {
	s.t.Helper()
	value, err := s.Metric("weir_policy_generation")
	must(s.t, err)
	return value
}
