// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/node"
)

// TestRig: what a rig makes is there, is there anew after Reset, and is gone
// after Close.
func TestRig(t *testing.T) {
	node.RequireKernel(t)
	r, err := New("wbr", datapath.Sizes{Flows: 1 << 12, Spill: 1 << 10, Rows: 1 << 10, Peers: 1 << 10, Ring: 1 << 16}, 1)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = r.Close() // the test has failed already
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pod := &policy.Pod{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "b"}, UID: "c", Node: Node, IPs: []netip.Addr{netip.MustParseAddr("10.244.1.10")}}
	made, err := r.AddPod(pod)
	must(err)
	isolate := policy.Batch{
		Synced: true, Namespaces: []policy.Namespace{{Name: "a"}}, Pods: []*policy.Pod{pod},
		Policies: []*policy.Policy{{ObjectKey: policy.ObjectKey{Namespace: "a", Name: "deny"}, Isolates: [2]bool{true, true}}},
	}
	for range 2 {
		update, cost, err := r.Change(isolate)
		must(err)
		if len(update.Subjects) != 1 || cost.Total() <= 0 {
			t.Errorf("%d subjects in %v, want 1 in some time", len(update.Subjects), cost.Total())
		}
		must(r.Finish())
		programs, err := r.Programs(made.Ifindex)
		must(err)
		for direction, want := range []string{policy.Ingress: "to_pod", policy.Egress: "from_pod"} {
			info, err := programs[direction].Info()
			must(err)
			if info.Name != want {
				t.Errorf("program %q of direction %d, want %q", info.Name, direction, want)
			}
			rows, err := Map(programs[direction], bpf.WeirMapRows)
			must(err)
			must(rows.Close())
			if _, err := Map(programs[direction], "no-such-map"); err == nil {
				t.Error("a map that is not there: no error")
			}
			must(programs[direction].Close())
		}
		must(r.Reset())
	}
	closed = true
	must(r.Close())
	nothingLeft(t)
}

func nothingLeft(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/run/netns", "/sys/fs/bpf", os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), "wbr-") {
				t.Errorf("%s/%s is left", dir, e.Name())
			}
		}
	}
}
