// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirnet/weir/bpf"
)

// openFlow is a TCP connection from a pod.
func openFlow(c Clock, p *pod, from netip.Addr, port uint16) FlowRecord {
	r := udpFlow(c, p.ifindex, port, 1)
	r.Key.Protocol, r.Key.Local, r.Flow.Flags = 6, from.As16(), answered
	return r
}

func flowIn(t *testing.T, d *Datapath, table string, r FlowRecord) (got bpf.WeirFlow, found bool) {
	t.Helper()
	err := d.maps[table].Lookup(r.Key, &got)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return got, err == nil
}

// A run with tables of another size knows the flows of the pods that are still
// there, within their shares, also those that the programs of the run before
// enter while they are replaced.
func TestFlowsAreCarriedOver(t *testing.T) {
	n := newNode(t)
	kept, gone := n.pod("dpcarry", 1), n.pod("dpcgone", 2)
	old := n.load()
	check(t, old.Bind(kept.binding()))
	check(t, old.Bind(gone.binding()))
	check(t, old.Apply(open(kept, gone)))
	check(t, old.Finish())
	clock, err := old.Clock()
	check(t, err)
	known := openFlow(clock, kept, kept.addr, 1)
	spilled := openFlow(clock, kept, kept.addr, 2)
	foreign := openFlow(clock, kept, gone.addr, 3) // its address and its veth are two pods' by now
	left := openFlow(clock, gone, gone.addr, 4)
	late := openFlow(Clock{Ticks: clock.Ticks + 10*clock.PerSecond, PerSecond: clock.PerSecond}, kept, kept.addr, 5)
	newer := openFlow(clock, kept, kept.addr, 6)
	slot := old.bindings[kept.ifindex].slot
	enter(t, old, bpf.WeirMapFlows, slot, known, foreign, left)
	enter(t, old, bpf.WeirMapFlowsSpill, spillSlot, spilled)
	check(t, old.lock.Close())
	old.lock = nil
	defer stop(t, old)

	n.opts.Sizes.Flows *= 2
	d := n.load()
	defer stop(t, d)
	if d.pins.flows == old.pins.flows {
		t.Fatal("this run uses the tables of the run before: that proves nothing")
	}
	check(t, d.Bind(kept.binding()))
	marks := marksOf(t, d)
	check(t, d.Apply(nextRun(kept, marks)))
	share := int(d.opts.Sizes.share(d.opts.ExpectedPods))
	if room := roomOf(t, d, slot); room != share {
		t.Errorf("room for %d flows, want %d: the slot is of the run before, and its share of this one", room, share)
	}
	r := &recorder{store: d.store}
	r.after = func(step string) {
		if step != "put endpoints" {
			return
		}
		enter(t, old, bpf.WeirMapFlows, slot, late, newer)
		own := newer
		own.Flow.TxPackets = 99
		enter(t, d, bpf.WeirMapFlows, slot, own)
	}
	d.store = r
	check(t, d.Finish())
	d.store = r.store
	if len(r.log) == 0 {
		t.Fatal("Finish wrote no endpoint: nothing came while the programs changed places")
	}
	for _, row := range []struct {
		name  string
		table string
		r     FlowRecord
		want  bool
	}{
		{"of a pod that is there", bpf.WeirMapFlows, known, true},
		{"that found no room", bpf.WeirMapFlowsSpill, spilled, true},
		{"entered meanwhile", bpf.WeirMapFlows, late, true},
		{"of another address", bpf.WeirMapFlows, foreign, false},
		{"of a pod that has gone", bpf.WeirMapFlows, left, false},
	} {
		got, found := flowIn(t, d, row.table, row.r)
		if found != row.want || found && !cmp.Equal(got, row.r.Flow) {
			t.Errorf("flow %s: %v %+v, want %v %+v", row.name, found, got, row.want, row.r.Flow)
		}
	}
	if got, _ := flowIn(t, d, bpf.WeirMapFlows, newer); got.TxPackets != 99 {
		t.Errorf("an entry of this run has %d packets, want its own 99", got.TxPackets)
	}
	if used, err := d.usageOf(spillSlot); used == 0 || err != nil {
		t.Errorf("nobody will look into the spill: %d, %v", used, err)
	}
	if room := roomOf(t, d, slot); room != share-3 {
		t.Errorf("room for %d flows, want %d less the 2 carried and the 1 made", room, share)
	}
	if _, err := os.Stat(old.pins.flows); !os.IsNotExist(err) {
		t.Errorf("the old tables are left: %v", err)
	}
}

// What is beyond a pod's share goes to the spill, as from a program.
func TestCarriedBeyondTheShare(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpbeyond", 1)
	d := n.load()
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(open(p)))
	check(t, d.Finish())
	clock, err := d.Clock()
	check(t, err)
	share := int(d.opts.Sizes.share(d.opts.ExpectedPods))
	var all []FlowRecord
	for i := range share + 7 {
		all = append(all, openFlow(clock, p, p.addr, uint16(i+1)))
	}
	enter(t, d, bpf.WeirMapFlows, d.bindings[p.ifindex].slot, all...)
	stop(t, d)
	n.opts.Sizes.Spill *= 2
	d = n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(nextRun(p, marksOf(t, d))))
	check(t, d.Finish())
	in := map[string]int{}
	for _, r := range all {
		for _, table := range []string{bpf.WeirMapFlows, bpf.WeirMapFlowsSpill} {
			if _, found := flowIn(t, d, table, r); found {
				in[table]++
			}
		}
	}
	if in[bpf.WeirMapFlows] != share || in[bpf.WeirMapFlowsSpill] != 7 {
		t.Errorf("%v, want %d within the share and 7 beyond", in, share)
	}
	if room := roomOf(t, d, d.bindings[p.ifindex].slot); room != 0 {
		t.Errorf("room for %d more", room)
	}
}

// Fields go by their names; what would be misread is not carried.
func TestRelayout(t *testing.T) {
	needKernel(t)
	spec, err := bpf.LoadWeir()
	check(t, err)
	ours := spec.Maps[bpf.WeirMapFlows]
	ours.MaxEntries = 4
	theirs := func(change func(*btf.Struct)) *ebpf.Map {
		m := ours.Copy()
		value := *m.Value.(*btf.Struct)
		value.Members = slices.Clone(value.Members)
		change(&value)
		m.Value, m.ValueSize = &value, value.Size
		made, err := ebpf.NewMap(m)
		check(t, err)
		return made
	}
	index := func(s *btf.Struct, name string) int {
		return slices.IndexFunc(s.Members, func(m btf.Member) bool { return m.Name == name })
	}
	older := theirs(func(s *btf.Struct) { // something in front, and no rule yet
		s.Size += 8
		s.Members = slices.Delete(s.Members, index(s, "rule"), index(s, "rule")+1)
		for i := range s.Members {
			s.Members[i].Offset += 64
		}
		s.Members = slices.Insert(s.Members, 0, btf.Member{Name: "more", Type: s.Members[0].Type})
	})
	key, value, err := relayoutsOf(older, ours)
	check(t, err)
	check(t, older.Close())
	if diff := cmp.Diff([]string{"rule"}, value.lacks); diff != "" || len(key.lacks) > 0 {
		t.Errorf("lacks (-want +got):\n%s, key %v", diff, key.lacks)
	}
	entry := make([]byte, 72)
	for i := range entry {
		entry[i] = byte(i)
	}
	var got bpf.WeirFlow
	check(t, value.decode(entry, &got))
	want := bpf.WeirFlow{
		TxPackets: 0x0f0e0d0c0b0a0908, TxBytes: 0x1716151413121110, RxPackets: 0x1f1e1d1c1b1a1918, RxBytes: 0x2726252423222120,
		First: 0x2b2a2928, LastTx: 0x2f2e2d2c, LastRx: 0x33323130, Epoch: 0x37363534, Set: 0x3b3a3938,
		Initiator: 64, Verdict: 65, Reason: 66, Flags: 67, TcpTx: 68, TcpRx: 69, Tag: 0x4746,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	for name, m := range map[string]*ebpf.Map{
		"no verdict": theirs(func(s *btf.Struct) { s.Members[index(s, "verdict")].Name = "ruling" }),
		"wider":      theirs(func(s *btf.Struct) { s.Members[index(s, "initiator")].Type = s.Members[index(s, "rule")].Type }),
		"another":    theirs(func(s *btf.Struct) { s.Name = "stream" }),
	} {
		path := "/sys/fs/bpf/datapath-test-relayout"
		check(t, m.Pin(path))
		l, err := openLeft(path, ours)
		check(t, m.Unpin())
		check(t, m.Close())
		if err == nil {
			l.table.Close()
			t.Errorf("%s: taken for a table of flows", name)
		}
	}
}
