// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bufio"
	"compress/gzip"
	"context"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

func TestTickIsCONFIGHZ(t *testing.T) {
	needKernel(t)
	want := configHZ(t)
	ticker, err := newTicker()
	check(t, err)
	defer ticker.close()
	check(t, ticker.measure())
	t.Logf("measured %d ticks per second", ticker.rate)
	if want != 0 && ticker.rate != want {
		t.Errorf("measured %d ticks per second, the kernel was built with %d", ticker.rate, want)
	}
}

// configHZ is 0 where the kernel's configuration cannot be read.
func configHZ(t *testing.T) uint32 {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return 0
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	check(t, err)
	for lines := bufio.NewScanner(z); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "CONFIG_HZ="); ok {
			n, err := strconv.ParseUint(value, 10, 32)
			check(t, err)
			return uint32(n)
		}
	}
	return 0
}

func TestReleaseCheck(t *testing.T) {
	for text, good := range map[string]bool{"5.10.0": true, "5.9.16-generic": false, "6.18.44-x": true, "4.19.1": false, "10.0": true} {
		r, err := parseRelease(text)
		if err != nil || (r.check() == nil) != good {
			t.Errorf("%s: %v, %v, want accepted %v", text, r, err, good)
		}
	}
	if _, err := parseRelease("unknown"); err == nil {
		t.Error("a release without numbers is accepted")
	}
}

func TestSizes(t *testing.T) {
	const gib = 1 << 30
	for _, row := range []struct {
		memory uint64
		want   Sizes
	}{
		{1 * gib, Sizes{Flows: 1 << 17, Rows: 1 << 15, Peers: 1 << 16, Ring: 1 << 20}},
		{16 * gib, Sizes{Flows: 1 << 19, Rows: 1 << 16, Peers: 1 << 17, Ring: 1 << 21}},
		{256 * gib, Sizes{Flows: 1 << 21, Rows: 1 << 19, Peers: 1 << 19, Ring: 1 << 23}},
	} {
		got := Sizes{}.Fill(row.memory)
		if got.Flows != row.want.Flows || got.Rows != row.want.Rows || got.Peers != row.want.Peers || got.Ring != row.want.Ring {
			t.Errorf("%d GiB: %+v, want %+v", row.memory/gib, got, row.want)
		}
		for name, size := range got.byMap() {
			if size == 0 {
				t.Errorf("%d GiB: map %s has no size", row.memory/gib, name)
			}
		}
	}
	if got := (Sizes{Flows: 5000}).Fill(gib); got.Flows != 5000 || got.share(2) != 2500 || got.share(110) != 1024 {
		t.Errorf("%+v: a size that was set changed, or the share is wrong", got)
	}
}

func TestMemory(t *testing.T) {
	meminfo := &fstest.MapFile{Data: []byte("MemTotal:       16000000 kB\nMemFree: 1 kB\n")}
	for _, row := range []struct {
		limit string
		want  uint64
	}{{"", 16000000 << 10}, {"max\n", 16000000 << 10}, {"536870912\n", 16 << 29}, {"99999999999\n", 16000000 << 10}} {
		root := fstest.MapFS{"proc/meminfo": meminfo}
		if row.limit != "" {
			root["sys/fs/cgroup/memory.max"] = &fstest.MapFile{Data: []byte(row.limit)}
		}
		if got, err := Memory(root); got != row.want || err != nil {
			t.Errorf("limit %q: %d, %v, want %d", row.limit, got, err, row.want)
		}
	}
	if _, err := Memory(fstest.MapFS{}); err == nil {
		t.Error("no meminfo, and no error")
	}
}

// The sizes' costs are what the kernel accounts.
func TestEntryCosts(t *testing.T) {
	n := newNode(t)
	n.opts.Sizes.Flows, n.opts.Sizes.Peers, n.opts.Sizes.Rows = 1<<17, 1<<16, 1<<15
	d := n.load()
	defer stop(t, d)
	if d.kernel.atLeast(5, 11) && !d.kernel.atLeast(6, 4) {
		t.Skip("from 5.11 to 6.3 the kernel tells the size of keys and values alone")
	}
	for name, cost := range map[string]uint64{bpf.WeirMapFlows: flowCost, bpf.WeirMapPeers: peerCost, bpf.WeirMapRows: rowCost} {
		info, err := d.maps[name].Info()
		check(t, err)
		bytes, ok := info.Memlock()
		if !ok {
			t.Skip("this kernel does not tell a map's memory")
		}
		per := float64(bytes) / float64(info.MaxEntries)
		t.Logf("%s: %d entries, %d bytes, %.1f each", name, info.MaxEntries, bytes, per)
		if per < 0.9*float64(cost) || per > 1.1*float64(cost) {
			t.Errorf("%s: %.1f bytes an entry, the sizes assume %d", name, per, cost)
		}
	}
}

// Waiting takes what an RCU grace period takes; writing to a map does not.
func TestGracePeriod(t *testing.T) {
	needKernel(t)
	g, err := newGrace()
	check(t, err)
	defer g.close()
	slowest := func(f func() error) time.Duration {
		var most time.Duration
		for range 20 {
			start := time.Now()
			check(t, f())
			most = max(most, time.Since(start))
		}
		return most
	}
	plain := slowest(func() error { return g.inner[0].Put(uint32(0), uint32(1)) })
	wait := slowest(g.wait)
	t.Logf("slowest of 20: plain write %s, grace period %s", plain, wait)
	if wait < 100*time.Microsecond {
		t.Errorf("the longest wait took %s: that is no grace period", wait)
	}
}

// emitter submits one event for each run.
func emitter(t *testing.T, ring *ebpf.Map, e bpf.WeirEvent) *ebpf.Program {
	t.Helper()
	seed, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 104, MaxEntries: 1})
	check(t, err)
	t.Cleanup(func() { seed.Close() })
	check(t, seed.Put(uint32(0), e))
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "dp_emit", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, seed.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Mov.Imm(asm.R3, 104),
		asm.Mov.Imm(asm.R4, 1), // BPF_RB_NO_WAKEUP
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	}})
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// Events arrive without any wake-up; those of the self test do not.
func TestEvents(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	run := func(ring string, e bpf.WeirEvent) {
		t.Helper()
		_, err := emitter(t, d.maps[ring], e).Run(&ebpf.RunOptions{Data: make([]byte, 64)})
		check(t, err)
	}
	var mu sync.Mutex
	var got []uint32
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- d.Events(ctx, func(e bpf.WeirEvent) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e.Ifindex)
			if e.Ifindex == 7 && (e.RemotePort != 443 || e.Rule != 5) {
				t.Errorf("event %+v", e)
			}
		})
	}()
	run(bpf.WeirMapEventsAllowed, bpf.WeirEvent{Ifindex: loopback})
	run(bpf.WeirMapEventsAllowed, bpf.WeirEvent{Ifindex: 7, RemotePort: 443, Rule: 5})
	run(bpf.WeirMapEventsDenied, bpf.WeirEvent{Ifindex: 8})
	eventually(t, "both events arrive", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 2 })
	cancel()
	check(t, <-done)
	for _, ifindex := range got {
		if ifindex == loopback {
			t.Error("an event of the self test came through")
		}
	}
	check(t, d.maps[bpf.WeirMapRings].Put(uint32(1), perCPU(bpf.WeirRingStats{Emitted: 3, Lost: 2, Limited: 4, Thinned: 5, Suppressed: 6})))
	lost, err := d.Lost()
	cpus := uint64(ebpf.MustPossibleCPU())
	if err != nil || lost[1] != (RingTotals{3 * cpus, 2 * cpus, 4 * cpus, 5 * cpus, 6 * cpus}) || lost[0].Lost != 0 {
		t.Errorf("%+v, %v, want 3, 2, 4, 5 and 6 on each of %d CPUs", lost, err, cpus)
	}
}

func perCPU[V any](v V) []V {
	values := make([]V, ebpf.MustPossibleCPU())
	for i := range values {
		values[i] = v
	}
	return values
}

func TestCounters(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpcount", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	cpus := uint64(ebpf.MustPossibleCPU())
	index := uint32(bpf.WeirReasonREASON_COUNT) + uint32(bpf.WeirReasonREASON_NO_RULE)
	key := bpf.WeirDropKey{Ifindex: uint32(p.ifindex), Direction: 1, Reason: uint8(bpf.WeirReasonREASON_NO_RULE)}
	check(t, d.maps[bpf.WeirMapCounters].Put(index, perCPU(bpf.WeirTraffic{Packets: 2, Bytes: 100})))
	check(t, d.maps[bpf.WeirMapDrops].Put(key, perCPU(bpf.WeirTraffic{Packets: 2, Bytes: 100})))
	want := bpf.WeirTraffic{Packets: 2 * cpus, Bytes: 100 * cpus}
	c, err := d.Counters()
	check(t, err)
	if got := c.Totals[policy.Egress][bpf.WeirReasonREASON_NO_RULE]; got != want || c.Drops[key] != want {
		t.Errorf("totals %+v, drops %+v, want %+v", got, c.Drops, want)
	}
	check(t, d.Unbind(p.ifindex))
	_, err = d.Sweep(nil, nil)
	check(t, err)
	if c, err = d.Counters(); err != nil || len(c.Drops) != 0 {
		t.Errorf("drops of an unbound veth are left: %+v, %v", c.Drops, err)
	}
}

func TestSelfTest(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpself", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(generationOne(p)))
	check(t, d.Finish())
	before := content(t, d)
	counted, err := d.Counters()
	check(t, err)
	told, err := d.Lost()
	check(t, err)
	check(t, d.SelfTest())
	if now, err := d.Lost(); err != nil || now != told {
		t.Errorf("the test shows in the counts of events: %+v, %v", now, err)
	}
	check(t, d.SelfTest())
	after := content(t, d)
	if strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("tables before:\n%v\nafter:\n%v", before, after)
	}
	for _, name := range []string{bpf.WeirMapFlows, bpf.WeirMapFlowsSpill} {
		if left, err := countKeys[bpf.WeirFlowKey](d.maps[name]); left != 0 || err != nil {
			t.Errorf("%d entries are left in %s, %v", left, name, err)
		}
	}
	if now, err := d.Counters(); err != nil || now.Totals != counted.Totals || len(now.Drops) != 0 {
		t.Errorf("the test shows in the counters: %+v, %v", now.Drops, err)
	}
	// Programs that let everything through do not pass it.
	open := newObserver(t, "dp_open").program
	real := d.program
	d.program[FromPod], d.program[ToPod] = open, open
	err = d.SelfTest()
	d.program = real
	if err == nil || !strings.Contains(err.Error(), "denied port") {
		t.Errorf("programs that pass all: %v", err)
	}
}

func TestRedirectPeer(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpredir", 1)
	culprit, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "dp_redirect", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, 1), asm.Mov.Imm(asm.R2, 0), asm.FnRedirectPeer.Call(), asm.Return()}})
	check(t, err)
	defer culprit.Close()
	innocent := newObserver(t, "dp_innocent")
	innocent.onClsact(t, p.ifindex, ToPod, 1, 1)
	found, err := RedirectPeer()
	if err != nil || len(found) != 0 {
		t.Fatalf("%+v, %v, want nothing", found, err)
	}
	byTCX := observer{program: culprit}
	byTCX.onClsact(t, p.ifindex, FromPod, 7, 7)
	through := tailCaller(t, culprit)
	if haveTCX() {
		(&observer{program: through}).onTCX(t, p.ifindex, ToPod, link.Tail())
	} else {
		(&observer{program: through}).onClsact(t, p.ifindex, ToPod, 8, 8)
	}
	found, err = RedirectPeer()
	check(t, err)
	want := mustID(t, culprit)
	if len(found) != 2 || found[0].Program != want || found[1].Program != want {
		t.Fatalf("%+v, want program %d twice", found, want)
	}
	if found[0].Hook != FromPod || found[0].Kind != "bpf" || found[0].Through != 0 || found[0].Ifname != p.name || found[0].Name != "dp_redirect" {
		t.Errorf("%+v, want the filter on from_pod", found[0])
	}
	if found[1].Hook != ToPod || found[1].Through != mustID(t, through) {
		t.Errorf("%+v, want it through the tail call", found[1])
	}
}

func tailCaller(t *testing.T, to *ebpf.Program) *ebpf.Program {
	t.Helper()
	array, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	check(t, err)
	t.Cleanup(func() { array.Close() })
	check(t, array.Put(uint32(1), to))
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "dp_tail", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R2, array.FD()), asm.Mov.Imm(asm.R3, 1), asm.FnTailCall.Call(), asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func TestFeatures(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	for _, f := range d.Features() {
		t.Logf("%-40s %v %s", f.Name, f.InUse, f.Note)
		// Of the two ways after translation the second says why not the first.
		second := f.Name == "verdict after translation" && d.forward.kind == ForwardXtables
		if f.InUse == (f.Note != "") && !second {
			t.Errorf("%s: in use %v with note %q: want a note where it is not in use", f.Name, f.InUse, f.Note)
		}
	}
}

// The ways of kernels without batches (5.6; 5.13 for tries) lead to the same.
func TestWithoutBatches(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	s := d.store.(*kernelStore)
	m := d.maps[bpf.WeirMapRows]
	rows := manyRows(5)
	keys := []bpf.WeirRowKey{rows[0].Key, rows[1].Key, rows[2].Key, rows[3].Key, rows[4].Key}
	put, err := s.putEach(m, reflect.ValueOf(keys), reflect.ValueOf(rows), 2)
	if count, _ := countKeys[bpf.WeirRowKey](m); put != 5 || count != 3 || err != nil {
		t.Errorf("put %d, %d in the map, %v, want the last three of five", put, count, err)
	}
	// Keys that are not there do not matter, here and in batches.
	if removed, err := s.removeEach(m, reflect.ValueOf(keys), 0); removed != 3 || err != nil {
		t.Errorf("removed %d, %v, want 3", removed, err)
	}
	var before Usage
	for _, u := range d.Usage() {
		if u.Map == bpf.WeirMapRows {
			before = u
		}
	}
	_, err = s.Put(bpf.WeirMapRows, keys[1:3], rows[1:3])
	check(t, err)
	if removed, err := s.Remove(bpf.WeirMapRows, keys); removed != 2 || err != nil {
		t.Errorf("removed %d in batches, %v, want 2", removed, err)
	}
	for _, u := range d.Usage() {
		if u.Map == bpf.WeirMapRows && (u.Written-before.Written != 2 || u.Deleted-before.Deleted != 2) {
			t.Errorf("rows count %d entries written and %d deleted, want 2 and 2: one that is not there is not deleted", u.Written-before.Written, u.Deleted-before.Deleted)
		}
	}
	if put, err := s.putEach(m, reflect.ValueOf(make([]bpf.WeirRowKey, 0)), reflect.ValueOf(make([]bpf.WeirRow, 0)), 0); put != 0 || err != nil {
		t.Errorf("nothing: %d, %v", put, err)
	}
	c, err := d.Clock()
	check(t, err)
	flows := d.maps[bpf.WeirMapFlows]
	for i := range uint16(300) {
		r := udpFlow(c, 5, i, 0)
		check(t, flows.Put(r.Key, r.Flow))
	}
	seen := map[uint16]bool{}
	check(t, eachFlowSingly(flows, func(keys []bpf.WeirFlowKey, values []bpf.WeirFlow) error {
		for i := range keys {
			seen[keys[i].LocalPort] = values[i].TxPackets == uint64(keys[i].LocalPort)
		}
		return nil
	}))
	if len(seen) != 300 || !seen[299] {
		t.Errorf("%d of 300 flows seen one by one", len(seen))
	}
}
