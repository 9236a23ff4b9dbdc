// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

var friend = netip.MustParseAddr("10.9.9.9")

// tcpRow allows one port.
func tcpRow(set, class uint32, port uint16, rule uint32) bpf.WeirRow {
	row := bpf.WeirRow{Key: bpf.WeirRowKey{Set: set, Class: class, Protocol: uint8(policy.TCP)}, Count: 1}
	row.Intervals[0].Lo, row.Intervals[0].Hi, row.Intervals[0].Rule = port, port, rule
	row.Intervals[0].Action = uint8(bpf.WeirActionACTION_ALLOW)
	return row
}

// generationOne: the friend, class 1, may reach port 80.
func generationOne(p *pod) compile.Update {
	return compile.Update{
		Rows:     []bpf.WeirRow{tcpRow(1, 1, 80, 1)},
		Peers:    []resolve.PeerChange{{Addr: friend, Class: 1}},
		Prefixes: []resolve.PrefixChange{{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Class: 2}},
		Subjects: []compile.SubjectSets{p.sets(1, 0)},
	}
}

// generationTwo: the friend, now class 3, may reach port 443 instead. The row
// of class 3 in the old set says what the old policy says.
func generationTwo(p *pod) compile.Update {
	return compile.Update{
		Rows:         []bpf.WeirRow{tcpRow(1, 3, 80, 1), tcpRow(2, 3, 443, 2)},
		Peers:        []resolve.PeerChange{{Addr: friend, Class: 3}},
		Subjects:     []compile.SubjectSets{p.sets(2, 0)},
		MoveEpoch:    true,
		GonePrefixes: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		GoneRows:     []bpf.WeirRowKey{{Set: 1, Class: 1, Protocol: 6}, {Set: 1, Class: 3, Protocol: 6}},
	}
}

func (p *pod) verdicts(t *testing.T, d *Datapath) string {
	t.Helper()
	var out []string
	for _, port := range []uint16{80, 443} {
		a, err := d.judge(p.ifindex, Question{policy.Ingress, friend, policy.TCP, port})
		check(t, err)
		out = append(out, fmt.Sprint(a.Verdict == bpf.WeirVerdictVERDICT_ALLOWED))
	}
	return strings.Join(out, " ")
}

func TestOrderOfWrites(t *testing.T) {
	n := newNode(t)
	p := n.pod("dporder", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(generationOne(p)))
	check(t, d.Finish())
	epoch := epochOf(t, d)
	flipped := false
	r := &recorder{store: d.store}
	r.after = func(step string) {
		flipped = flipped || step == "put endpoints"
		want := "true false" // the old policy, whole
		if flipped {
			want = "false true"
		}
		if got := p.verdicts(t, d); got != want {
			t.Errorf("after %s: ports 80 and 443 allowed: %s, want %s", step, got, want)
		}
		if moved := epochOf(t, d) != epoch; moved && !flipped {
			t.Errorf("after %s: the epoch moved before the endpoint", step)
		}
	}
	d.store = r
	check(t, d.Apply(generationTwo(p)))
	d.store = r.store
	want := []string{"put rows", "put peers", "put endpoints", "put epoch", "settle", "remove cidrs", "remove rows"}
	if diff := cmp.Diff(want, r.log); diff != "" {
		t.Errorf("order of writes (-want +got):\n%s", diff)
	}
	if got := epochOf(t, d); got != epoch+1 {
		t.Errorf("epoch %d, want %d: once", got, epoch+1)
	}
	marks, err := d.Marks()
	check(t, err)
	highest := resolve.Marks{Class: 3, Set: 2, Rule: 2}
	if marks != highest {
		t.Errorf("marks %+v, want %+v", marks, highest)
	}
	check(t, d.Apply(compile.Update{Rows: []bpf.WeirRow{tcpRow(1, 1, 80, 1)}}))
	if marks, err = d.Marks(); err != nil || marks != highest {
		t.Errorf("marks %+v after lower ids, %v, want %+v", marks, err, highest)
	}
}

// Before an address loses what only replaced sets ask for, the programs that
// still judge by those have ended: a flip, and then a class, is a grace period
// apart, also where the flip deleted nothing. Where no set was replaced, and
// where one ended already, nothing waits.
func TestClassAfterFlip(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpflip", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	class := func(id resolve.ClassID) compile.Update {
		return compile.Update{Peers: []resolve.PeerChange{{Addr: friend, Class: id}}}
	}
	block := compile.Update{Prefixes: []resolve.PrefixChange{{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Class: 9}}}
	sets := func(in, out resolve.SetID) compile.Update {
		return compile.Update{Subjects: []compile.SubjectSets{p.sets(in, out)}}
	}
	for _, row := range []struct {
		name    string
		updates []compile.Update
		want    []string
	}{
		{"the first sets", []compile.Update{sets(1, 1), class(1)}, []string{"put endpoints", "put epoch", "put peers"}},
		{"ingress", []compile.Update{sets(2, 1), class(2), class(3)}, []string{"put endpoints", "put epoch", "settle", "put peers"}},
		{"egress", []compile.Update{sets(2, 2), block, class(4)}, []string{"put endpoints", "put epoch", "settle", "put cidrs", "put peers"}},
		{"both end", []compile.Update{sets(0, 0), class(5)}, []string{"put endpoints", "put epoch", "settle", "put peers"}},
		{"none", []compile.Update{sets(0, 0), class(6)}, []string{"put peers"}},
		{"within an update", []compile.Update{sets(3, 3), generationTwo(p), class(7)},
			[]string{"put endpoints", "put epoch", "put rows", "put peers", "put endpoints", "put epoch", "settle", "remove cidrs", "remove rows", "put peers"}},
	} {
		r := &recorder{store: d.store}
		d.store = r
		for _, u := range row.updates {
			check(t, d.Apply(u))
		}
		d.store = r.store
		if diff := cmp.Diff(row.want, r.log); diff != "" {
			t.Errorf("%s: order of writes (-want +got):\n%s", row.name, diff)
		}
	}
}

// An address that comes from no class, and a prefix, move no epoch.
func TestEpochStays(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpstay", 1)
	d := n.load()
	defer stop(t, d)
	epoch := epochOf(t, d)
	check(t, d.Bind(p.binding()))
	if got := epochOf(t, d); got != epoch {
		t.Errorf("a new endpoint moved the epoch from %d to %d", epoch, got)
	}
	check(t, d.Apply(generationOne(p)))
	epoch = epochOf(t, d)
	check(t, d.Apply(compile.Update{Peers: []resolve.PeerChange{{Addr: netip.MustParseAddr("10.9.9.1"), Class: 1}}}))
	check(t, d.Apply(compile.Update{Subjects: []compile.SubjectSets{p.sets(1, 0)}})) // the same again
	check(t, d.SetServices([]policy.PortNumber{{Protocol: policy.TCP, Number: 30080}}))
	if got := epochOf(t, d); got != epoch {
		t.Errorf("epoch moved from %d to %d", epoch, got)
	}
	check(t, d.SetMode(p.key(), bpf.WeirModeMODE_AUDIT))
	if got := epochOf(t, d); got != epoch+1 {
		t.Errorf("epoch %d after a change of mode, want %d", got, epoch+1)
	}
	check(t, d.Apply(compile.Update{Subjects: []compile.SubjectSets{p.sets(2, 0)}}))
	if got := epochOf(t, d); got != epoch+2 {
		t.Errorf("epoch %d after a change of sets, want %d", got, epoch+2)
	}
	if err := d.SetMode(policy.ObjectKey{Name: "nobody"}, bpf.WeirModeMODE_AUDIT); !errors.Is(err, ErrNotBound) {
		t.Errorf("mode of an unknown pod: %v, want ErrNotBound", err)
	}
}

func manyRows(n int) []bpf.WeirRow {
	var rows []bpf.WeirRow
	for i := range n {
		rows = append(rows, tcpRow(7, uint32(i), 80, 1))
	}
	return rows
}

func manyPeers(n int) []resolve.PeerChange {
	var peers []resolve.PeerChange
	for i := range n {
		peers = append(peers, resolve.PeerChange{Addr: netip.AddrFrom4([4]byte{10, 8, 0, byte(i)}), Class: 7})
	}
	return append(peers, resolve.PeerChange{Addr: friend, Class: 7})
}

func manyPrefixes(n int) []resolve.PrefixChange {
	var prefixes []resolve.PrefixChange
	for i := range n {
		prefixes = append(prefixes, resolve.PrefixChange{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16), Class: 7})
	}
	return append(prefixes, resolve.PrefixChange{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Class: 7})
}

func TestFullMap(t *testing.T) {
	for _, row := range []struct {
		table  string
		update compile.Update
	}{
		{bpf.WeirMapRows, compile.Update{Rows: manyRows(16), Peers: manyPeers(2)}},
		{bpf.WeirMapPeers, compile.Update{Rows: manyRows(2), Peers: manyPeers(16)}},
		{bpf.WeirMapCidrs, compile.Update{Rows: manyRows(2), Peers: manyPeers(2), Prefixes: manyPrefixes(8)}},
	} {
		// Known before the first write, and found by the kernel after some.
		for _, sudden := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s sudden %v", row.table, sudden), func(t *testing.T) {
				n := newNode(t)
				p := n.pod("dpfull", 1)
				if sudden {
					n.opts.Sizes.Rows, n.opts.Sizes.Peers, n.opts.Sizes.Prefixes = 64, 64, 64
				}
				d := n.load()
				defer stop(t, d)
				check(t, d.Bind(p.binding()))
				check(t, d.Apply(generationOne(p)))
				before := content(t, d)
				real := d.store
				if sudden {
					d.store = &broken{real, row.table, 2}
				}
				update := row.update
				update.Subjects = []compile.SubjectSets{p.sets(7, 7)}
				err := d.Apply(update)
				d.store = real
				var full *FullError
				if !errors.Is(err, ErrFull) || !errors.As(err, &full) || full.Map != row.table || full.Option == "" {
					t.Fatalf("%v, want ErrFull of %s with the option to raise", err, row.table)
				}
				if diff := cmp.Diff(before, content(t, d)); diff != "" {
					t.Fatalf("the last good generation changed:\n%s", diff)
				}
				if got := p.verdicts(t, d); got != "true false" {
					t.Errorf("ports 80 and 443 allowed: %s", got)
				}
				// The next update deletes what stood in the way, or the
				// kernel has memory again.
				var relief compile.Update
				if !sudden {
					relief = dropOf(update)
				}
				check(t, d.Apply(relief))
				if d.tables.endpoints[uint32(p.ifindex)].SetIngress != 7 {
					t.Error("the kept update is not in force")
				}
				rows, err := countKeys[bpf.WeirRowKey](d.maps[bpf.WeirMapRows])
				if err != nil || rows != d.tables.rows {
					t.Errorf("%d rows counted, %d in the map, %v", d.tables.rows, rows, err)
				}
			})
		}
	}
}

// dropOf deletes most of what an update writes.
func dropOf(u compile.Update) compile.Update {
	var drop compile.Update
	for _, r := range u.Rows[1:] {
		drop.GoneRows = append(drop.GoneRows, r.Key)
	}
	for _, p := range u.Peers[1:] {
		drop.GonePeers = append(drop.GonePeers, p.Addr)
	}
	for i, p := range u.Prefixes {
		if i > 0 {
			drop.GonePrefixes = append(drop.GonePrefixes, p.Prefix)
		}
	}
	return drop
}

// A failed flip keeps what it needs, and the next update completes it.
func TestFailedFlip(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpflip", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(generationOne(p)))
	real := d.store
	d.store = &broken{real, bpf.WeirMapEndpoints, 0}
	if err := d.Apply(generationTwo(p)); err == nil {
		t.Fatal("no error")
	}
	d.store = real
	if got := p.verdicts(t, d); got != "true false" {
		t.Errorf("after the failure: %s, want the old policy", got)
	}
	check(t, d.Apply(compile.Update{}))
	if got := p.verdicts(t, d); got != "false true" {
		t.Errorf("after another try: %s, want the new policy", got)
	}
	if rows, err := countKeys[bpf.WeirRowKey](d.maps[bpf.WeirMapRows]); err != nil || rows != 1 || d.tables.rows != 1 {
		t.Errorf("%d rows counted, %d in the map, %v, want 1", d.tables.rows, rows, err)
	}
}

// merge has the effect of one after the other, for random updates.
func TestMerge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		a, b := randomUpdate(rng), randomUpdate(rng)
		start := tableModel{}
		start.apply(randomUpdate(rng))
		apart, together := start.clone(), start.clone()
		apart.apply(a)
		apart.apply(b)
		together.apply(merge(a, b))
		if diff := cmp.Diff(apart, together); diff != "" {
			t.Fatalf("seed %d: a %+v\nb %+v\n(-one by one +merged)\n%s", seed, a, b, diff)
		}
	}
}

type tableModel map[string]string

func (m tableModel) clone() tableModel {
	c := tableModel{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (m tableModel) apply(u compile.Update) {
	for _, r := range u.Rows {
		m[fmt.Sprint("row", r.Key)] = fmt.Sprint(r.Intervals)
	}
	for _, p := range u.Peers {
		m[fmt.Sprint("peer", p.Addr)] = fmt.Sprint(p.Class)
	}
	for _, p := range u.Prefixes {
		m[fmt.Sprint("prefix", p.Prefix)] = fmt.Sprint(p.Class)
	}
	for _, pod := range u.GoneSubjects {
		if !slices.ContainsFunc(u.Subjects, func(s compile.SubjectSets) bool { return s.Pod == pod }) {
			delete(m, fmt.Sprint("subject", pod))
		}
	}
	for _, s := range u.Subjects {
		m[fmt.Sprint("subject", s.Pod)] = fmt.Sprint(s.Ingress)
	}
	for _, a := range u.GonePeers {
		delete(m, fmt.Sprint("peer", a))
	}
	for _, p := range u.GonePrefixes {
		delete(m, fmt.Sprint("prefix", p))
	}
	for _, k := range u.GoneRows {
		delete(m, fmt.Sprint("row", k))
	}
}

// randomUpdate names each thing at most once, as written or as gone.
func randomUpdate(rng *rand.Rand) compile.Update {
	var u compile.Update
	for i := range byte(4) {
		addr, id := netip.AddrFrom4([4]byte{10, 0, 0, i}), rng.Uint32N(100)
		switch rng.IntN(3) {
		case 0:
			u.Peers = append(u.Peers, resolve.PeerChange{Addr: addr, Class: resolve.ClassID(id)})
			u.Rows = append(u.Rows, tcpRow(1, uint32(i), uint16(id), 1))
		case 1:
			u.GonePeers = append(u.GonePeers, addr)
			u.GoneRows = append(u.GoneRows, tcpRow(1, uint32(i), 0, 1).Key)
		}
		key := policy.ObjectKey{Name: addr.String()}
		prefix := netip.PrefixFrom(addr, 32)
		switch rng.IntN(3) {
		case 0:
			u.Prefixes = append(u.Prefixes, resolve.PrefixChange{Prefix: prefix, Class: resolve.ClassID(id)})
			u.Subjects = append(u.Subjects, compile.SubjectSets{SubjectChange: resolve.SubjectChange{Pod: key, Ingress: resolve.SetID(id)}})
		case 1:
			u.GonePrefixes = append(u.GonePrefixes, prefix)
			u.GoneSubjects = append(u.GoneSubjects, key)
		}
	}
	return u
}

// The barriers keep ::/0 from IPv4 and link-local addresses, also after their
// own blocks are gone.
func TestBarriers(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	class := func(addr string) uint32 {
		var a Answer
		check(t, d.classify(netip.MustParseAddr(addr), &a))
		return a.Class
	}
	everywhere := []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fe80::/10")}
	var changes []resolve.PrefixChange
	for i, p := range everywhere {
		changes = append(changes, resolve.PrefixChange{Prefix: p, Class: resolve.ClassID(i + 1)})
	}
	check(t, d.Apply(compile.Update{Prefixes: changes}))
	for addr, want := range map[string]uint32{"2001:db8::1": 1, "192.0.2.7": 2, "fe80::1": 3} {
		if got := class(addr); got != want {
			t.Errorf("class of %s is %d, want %d", addr, got, want)
		}
	}
	check(t, d.Apply(compile.Update{GonePrefixes: everywhere[1:]}))
	for addr, want := range map[string]uint32{"2001:db8::1": 1, "192.0.2.7": 0, "fe80::1": 0} {
		if got := class(addr); got != want {
			t.Errorf("after: class of %s is %d, want %d", addr, got, want)
		}
	}
}
