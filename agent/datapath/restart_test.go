// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// nextRun is generationOne under the ids that a new run gives.
func nextRun(p *pod, m resolve.Marks) compile.Update {
	set, class, rule := uint32(m.Set)+1, uint32(m.Class)+1, uint32(m.Rule)+1
	return compile.Update{
		Rows:     []bpf.WeirRow{tcpRow(set, class, 80, rule)},
		Peers:    []resolve.PeerChange{{Addr: friend, Class: resolve.ClassID(class)}},
		Subjects: []compile.SubjectSets{p.sets(resolve.SetID(set), 0)},
	}
}

// attachments name what is attached, by link where there are links.
func attachments(t *testing.T, d *Datapath, p *pod) (links []link.ID, programs []ebpf.ProgramID) {
	t.Helper()
	for _, hook := range hooks {
		at, err := positionOn(d.hook, p.ifindex, hook)
		check(t, err)
		if !at.Attached {
			t.Errorf("%s of %s is not attached", hook, p.name)
		}
		programs = append(programs, at.Program)
		if on, ok := d.hook.(tcx); ok {
			l, err := on.load(on.pin(p.ifindex, hook), p.ifindex)
			check(t, err)
			info, err := l.Info()
			check(t, err)
			links = append(links, info.ID)
			l.Close()
		}
	}
	return links, programs
}

func TestRestart(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		kept, left := n.pod("dpkept", 1), n.pod("dpleft", 2)
		old := n.load()
		check(t, old.Bind(kept.binding()))
		check(t, old.Bind(left.binding()))
		update := generationOne(kept)
		update.Subjects = append(update.Subjects, left.sets(1, 1))
		update.Peers = append(update.Peers, resolve.PeerChange{Addr: netip.MustParseAddr("10.9.9.7"), Class: 1})
		check(t, old.Apply(update))
		check(t, old.Finish())
		links, programs := attachments(t, old, kept)
		epoch := epochOf(t, old)
		stop(t, old)

		d := n.load()
		defer stop(t, d)
		if d.pins.tables == old.pins.tables {
			t.Error("this run writes to the tables of the run before")
		}
		want := []Recovered{{Ifindex: kept.ifindex, Addrs: []netip.Addr{kept.addr}}, {Ifindex: left.ifindex, Addrs: []netip.Addr{left.addr}}}
		sameBinding := cmp.Comparer(func(a, b Recovered) bool {
			return a.Ifindex == b.Ifindex && cmp.Equal(a.Addrs, b.Addrs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
		})
		if diff := cmp.Diff(want, d.Recovered(), sameBinding); diff != "" {
			t.Errorf("recovered (-want +got):\n%s", diff)
		}
		// Bound, but policy is not complete: all is as the old run left it.
		check(t, d.Bind(kept.binding()))
		if _, now := attachments(t, d, kept); !cmp.Equal(programs, now) {
			t.Errorf("programs were replaced before Finish: %v, then %v", programs, now)
		}
		marks, err := d.Marks()
		check(t, err)
		check(t, d.Apply(nextRun(kept, marks)))
		if got := kept.verdicts(t, d); got != "true false" {
			t.Errorf("verdicts after the first update: %s", got)
		}
		check(t, d.Finish())
		if got := kept.verdicts(t, d); got != "true false" {
			t.Errorf("verdicts after Finish: %s", got)
		}
		linksNow, programsNow := attachments(t, d, kept)
		if !cmp.Equal(links, linksNow) || programsNow[0] == programs[0] || programsNow[1] == programs[1] {
			t.Errorf("links %v, then %v: want the same; programs %v, then %v: want others", links, linksNow, programs, programsNow)
		}
		firstOnBoth(t, d, kept)
		for _, line := range content(t, d) {
			for _, stale := range []string{"row 1/", left.addr.String(), "10.9.0.0/16", "10.9.9.7"} {
				if strings.Contains(line, stale) {
					t.Errorf("left from the run before: %s", line)
				}
			}
		}
		positions, err := d.Position(left.ifindex)
		check(t, err)
		if positions[FromPod].Attached || positions[ToPod].Attached {
			t.Errorf("programs are left on a veth that nobody bound: %+v", positions)
		}
		if now := epochOf(t, d); int32(now-epoch) <= 0 {
			t.Errorf("epoch %d, then %d: want upwards", epoch, now)
		}
	})
}

// Whatever a new run has written so far, the programs that are attached until
// its Finish say what the run before said.
func TestProgramsBeforeFinish(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpbefore", 1)
	old := n.load()
	check(t, old.Bind(p.binding()))
	check(t, old.Apply(generationOne(p)))
	check(t, old.Finish())
	slot := old.bindings[p.ifindex].slot
	check(t, old.lock.Close())
	old.lock = nil
	defer stop(t, old)

	d := n.load()
	defer stop(t, d)
	r := &recorder{store: d.store}
	r.after = func(step string) {
		if got := p.verdicts(t, old); got != "true false" {
			t.Errorf("after %s: ports 80 and 443 allowed: %s, want what the run before says", step, got)
		}
	}
	d.store = r
	_, programs := attachments(t, d, p)
	check(t, d.Bind(p.binding()))
	if got := d.bindings[p.ifindex].slot; got != slot {
		t.Errorf("slot %d, want %d: the flows are still counted there", got, slot)
	}
	marks, err := d.Marks()
	check(t, err)
	update := nextRun(p, marks)
	update.Rows[0].Intervals[0].Lo, update.Rows[0].Intervals[0].Hi = 443, 443
	check(t, d.Apply(update))
	if len(r.log) == 0 {
		t.Error("nothing was written: that proves nothing")
	}
	if _, now := attachments(t, d, p); !cmp.Equal(programs, now) {
		t.Errorf("programs %v, then %v: replaced before Finish", programs, now)
	}
	r.after = func(string) {}
	check(t, d.Finish())
	if got := p.verdicts(t, d); got != "false true" {
		t.Errorf("after Finish: %s, want what this run says", got)
	}
}

// A Finish that cannot write the endpoints leaves all with the run before, and
// the next one takes over.
func TestFinishAgain(t *testing.T) {
	n := newNode(t)
	p, q := n.pod("dpagain", 1), n.pod("dpother", 2)
	old := n.load()
	check(t, old.Bind(p.binding()))
	check(t, old.Bind(q.binding()))
	check(t, old.Apply(generationOne(p)))
	check(t, old.Finish())
	stop(t, old)

	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Bind(q.binding()))
	check(t, d.Apply(nextRun(p, marksOf(t, d))))
	_, programs := attachments(t, d, p)
	whole := d.store
	d.store = &broken{whole, bpf.WeirMapEndpoints, 1}
	err := d.Finish()
	d.store = whole
	if !errors.Is(err, ErrNotFinished) {
		t.Errorf("without room: %v, want ErrNotFinished", err)
	}
	if _, now := attachments(t, d, p); !cmp.Equal(programs, now) || len(d.Recovered()) != 2 {
		t.Errorf("programs %v, then %v, %d bindings of the run before: taken over by halves", programs, now, len(d.Recovered()))
	}
	check(t, d.Finish())
	if _, now := attachments(t, d, p); cmp.Equal(programs, now) {
		t.Errorf("programs %v: not replaced the second time", now)
	}
	for ifindex, e := range d.tables.endpoints {
		if e.Flags&uint8(bpf.WeirEndpointFlagEP_HANDOVER) != 0 {
			t.Errorf("endpoint of interface %d is left to a run that is gone", ifindex)
		}
	}
}

// An address stays with the veth that an earlier agent bound it to, also if
// another claims it first after a restart.
func TestRestartKeepsAddresses(t *testing.T) {
	n := newNode(t)
	p, thief := n.pod("dpowner", 1), n.pod("dpthief", 2)
	d := n.load()
	check(t, d.Bind(p.binding()))
	check(t, d.Finish())
	stop(t, d)
	d = n.load()
	defer stop(t, d)
	claim := thief.binding()
	claim.Addrs = append(claim.Addrs, p.addr)
	var conflict *ConflictError
	if err := d.Bind(claim); !errors.As(err, &conflict) || conflict.With != p.ifindex {
		t.Errorf("another veth claims the address first: %v, want a conflict with %d", err, p.ifindex)
	}
	check(t, d.Bind(p.binding()))
	check(t, d.Finish())
	if owner := d.tables.local[p.addr]; int(owner) != p.ifindex {
		t.Errorf("%s belongs to %d, want %d", p.addr, owner, p.ifindex)
	}
}

// Agents that die before their Finish leave tables that are incomplete: the
// last ones stay for their bindings.
func TestDiedBeforeFinish(t *testing.T) {
	n := newNode(t)
	p := n.pod("dpdied", 1)
	var incomplete []string
	for range 3 {
		d := n.load()
		check(t, d.Bind(p.binding()))
		stop(t, d)
		incomplete = append(incomplete, d.pins.tables)
	}

	d := n.load()
	defer stop(t, d)
	for i, dir := range incomplete {
		if _, err := os.Stat(dir); os.IsNotExist(err) != (i < 2) {
			t.Errorf("tables %d of 3 that are incomplete: %v, want the last alone", i+1, err)
		}
	}
	if got := d.Recovered(); len(got) != 1 || len(got[0].Addrs) != 1 {
		t.Errorf("recovered %+v, want the binding", got)
	}
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(generationOne(p)))
	check(t, d.Finish())
	firstOnBoth(t, d, p)
	if left, err := generations(n.opts.PinDir); len(left) != 1 || err != nil {
		t.Errorf("tables %v, %v: want this run's alone", left, err)
	}
}

// The other kind of attachment replaces the first without a gap.
func TestRestartWithAnotherAttachment(t *testing.T) {
	n := newNode(t)
	if !haveTCX() {
		t.Skip("this kernel has no TCX (6.6)")
	}
	p := n.pod("dpkind", 1)
	for _, kind := range []AttachKind{AttachClsact, AttachTCX, AttachClsact} {
		n.opts.Attach = kind
		d := n.load()
		check(t, d.Bind(p.binding()))
		check(t, d.Apply(open(p)))
		check(t, d.Finish())
		firstOnBoth(t, d, p)
		for _, hook := range hooks {
			if at, err := positionOn(d.other, p.ifindex, hook); err != nil || at.Attached {
				t.Errorf("%s: the other kind: %+v, %v, want not attached", kind, at, err)
			}
		}
		stop(t, d)
	}
}

// A mover that died between its two steps has left two links.
func TestUnfinishedMove(t *testing.T) {
	n := newNode(t)
	if !haveTCX() {
		t.Skip("this kernel has no TCX (6.6)")
	}
	p := n.pod("dpmove", 1)
	d := n.load()
	defer stop(t, d)
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(open(p)))
	check(t, d.Finish())
	path := tcx{d.opts.linksDir()}.pin(p.ifindex, FromPod)
	for _, both := range []bool{true, false} {
		twin, err := d.spareOf(FromPod)
		check(t, err)
		if at, err := positionOn(d.hook, p.ifindex, FromPod); err != nil || at.Program == mustID(t, twin) {
			twin = d.program[FromPod]
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: p.ifindex, Program: twin, Attach: FromPod.tcx(), Anchor: link.Head()})
		check(t, err)
		check(t, l.Pin(path+newSuffix))
		l.Close()
		if !both { // the old link was let go, and its pin not yet replaced
			old, err := link.LoadPinnedLink(path, nil)
			check(t, err)
			check(t, old.Detach())
			old.Close()
		}
		restore(t, d)
		firstOnBoth(t, d, p)
		at, err := positionOn(d.hook, p.ifindex, FromPod)
		check(t, err)
		if len(at.Behind) != 0 {
			t.Errorf("both links %v: %+v, want one program", both, at)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
			t.Errorf("pins %v, want one", left)
		}
	}
}

func mustID(t *testing.T, p *ebpf.Program) ebpf.ProgramID {
	t.Helper()
	id, err := programID(p)
	check(t, err)
	return id
}

// Agents share maps only if they read them alike.
func TestLayout(t *testing.T) {
	hash := func(change func(m *ebpf.MapSpec)) string {
		t.Helper()
		spec, err := bpf.LoadWeir()
		check(t, err)
		if change != nil {
			change(spec.Maps[bpf.WeirMapPeers])
		}
		h, err := layout(spec, tableMaps)
		check(t, err)
		return h
	}
	same := hash(nil)
	if again := hash(nil); again != same {
		t.Errorf("%s, then %s", same, again)
	}
	for name, change := range map[string]func(*ebpf.MapSpec){
		"size":  func(m *ebpf.MapSpec) { m.MaxEntries++ },
		"flags": func(m *ebpf.MapSpec) { m.Flags |= 1 },
		"type":  func(m *ebpf.MapSpec) { m.Type = ebpf.LRUHash },
		"names": func(m *ebpf.MapSpec) {
			s := m.Value.(*btf.Struct)
			s.Members[0].Name, s.Members[1].Name = "flags", "class"
		},
	} {
		if got := hash(change); got == same {
			t.Errorf("another %s has the same layout", name)
		}
	}
}
