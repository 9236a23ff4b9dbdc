// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
)

func eachKind(t *testing.T, f func(t *testing.T, n *node)) {
	for _, kind := range []AttachKind{AttachTCX, AttachClsact} {
		t.Run(string(kind), func(t *testing.T) {
			n := newNode(t)
			if kind == AttachTCX && !haveTCX() {
				t.Skip("this kernel has no TCX (6.6)")
			}
			n.opts.Attach = kind
			f(t, n)
		})
	}
}

func firstOnBoth(t *testing.T, d *Datapath, p *pod) {
	t.Helper()
	positions, err := d.Position(p.ifindex)
	check(t, err)
	for _, at := range positions {
		if !at.First() {
			t.Errorf("%s: %+v, want first", at.Hook, at)
		}
	}
}

func TestNeighboursGoOnWorking(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		p := n.pod("dpneigh", 1)
		d := n.load()
		defer stop(t, d)
		check(t, d.Apply(open(p)))
		onTCX, onClsact := newObserver(t, "dp_tcx"), newObserver(t, "dp_cls")
		if haveTCX() && n.opts.Attach == AttachTCX {
			onTCX.onTCX(t, p.ifindex, FromPod, link.Tail())
			onTCX.onTCX(t, p.ifindex, ToPod, link.Tail())
		}
		onClsact.onClsact(t, p.ifindex, FromPod, 1, 1)
		onClsact.onClsact(t, p.ifindex, ToPod, 1, 1)
		check(t, d.Bind(p.binding()))
		check(t, d.Finish())
		firstOnBoth(t, d, p)
		tcxBefore, clsBefore := onTCX.seen(t), onClsact.seen(t)
		p.send(9)
		p.receive(9)
		eventually(t, "the filter sees both packets", func() bool { return onClsact.seen(t) >= clsBefore+2 })
		if n.opts.Attach == AttachTCX {
			eventually(t, "the TCX program sees both packets", func() bool { return onTCX.seen(t) >= tcxBefore+2 })
		}
		check(t, d.Unbind(p.ifindex))
		positions, err := d.Position(p.ifindex)
		check(t, err)
		for _, at := range positions {
			if at.Attached || len(at.Ahead) == 0 {
				t.Errorf("after unbind: %+v, want only the neighbours", at)
			}
		}
	})
}

func TestLosingTheFirstPlace(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		p := n.pod("dpfirst", 1)
		d := n.load()
		defer stop(t, d)
		check(t, d.Apply(open(p)))
		check(t, d.Bind(p.binding()))
		check(t, d.Finish())
		for round := range 3 { // back and forth between the copies
			if found := restore(t, d); len(found) != 0 {
				t.Fatalf("round %d: %v, want nothing wrong", round, found)
			}
			intruder := newObserver(t, "dp_intruder")
			if n.opts.Attach == AttachTCX {
				intruder.onTCX(t, p.ifindex, ToPod, link.Head())
			} else {
				intruder.onClsact(t, p.ifindex, ToPod, 1, uint32(100+round))
			}
			found := restore(t, d)
			if len(found) != 1 || found[0].Err != nil || !found[0].Now.First() || len(found[0].Found.Ahead) != 1 {
				t.Fatalf("round %d: found %+v, want one displaced and put right", round, found)
			}
			if got := found[0].Found.Ahead[0].String(); got == "" {
				t.Error("the intruder has no name")
			}
			firstOnBoth(t, d, p)
			before := intruder.seen(t)
			p.receive(9)
			eventually(t, "the intruder, now behind, sees the packet", func() bool { return intruder.seen(t) > before })
		}
	})
}

func TestDetachedByForce(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		p := n.pod("dpforce", 1)
		d := n.load()
		defer stop(t, d)
		check(t, d.Apply(open(p)))
		check(t, d.Bind(p.binding()))
		check(t, d.Finish())
		if n.opts.Attach == AttachTCX {
			l, err := link.LoadPinnedLink(tcx{d.opts.linksDir()}.pin(p.ifindex, FromPod), nil)
			check(t, err)
			check(t, l.Detach())
			l.Close()
		} else {
			check(t, netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: p.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
		}
		found := restore(t, d)
		if len(found) == 0 || found[0].Found.Attached || found[0].Err != nil {
			t.Fatalf("found %+v, want not attached and put right", found)
		}
		firstOnBoth(t, d, p)
	})
}

// A filter of one protocol holds priority 1, which then is that protocol's:
// weir comes behind it, and says so.
func TestFirstPriorityHeldByAnotherProtocol(t *testing.T) {
	n := newNode(t)
	n.opts.Attach = AttachClsact
	p := n.pod("dpheld", 1)
	d := n.load()
	defer stop(t, d)
	check(t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
	check(t, netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: p.ifindex, Parent: FromPod.parent(), Protocol: unix.ETH_P_IP, Priority: 1},
		Fd: newObserver(t, "dp_held").program.FD(), Name: "held", DirectAction: true}))
	check(t, d.Bind(p.binding()))
	check(t, d.Apply(open(p)))
	check(t, d.Finish())
	found := restore(t, d)
	if len(found) != 1 || !errors.Is(found[0].Err, errBehind) || !found[0].Now.Attached || found[0].Now.Ahead[0].Name != "held" {
		t.Fatalf("found %+v, want from_pod behind the other", found)
	}
	check(t, d.Unbind(p.ifindex))
	if kind, err := ingressQdisc(p.ifindex); kind != "clsact" || err != nil {
		t.Errorf("the qdisc of another is %q, %v after unbind, want it left alone", kind, err)
	}
}

// A clsact qdisc that weir did not make stays, though it is empty.
func TestForeignQdiscStays(t *testing.T) {
	n := newNode(t)
	n.opts.Attach = AttachClsact
	p, q := n.pod("dpforeign", 1), n.pod("dpown", 2)
	d := n.load()
	defer stop(t, d)
	check(t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
	for pod, want := range map[*pod]string{p: "clsact", q: ""} {
		check(t, d.Bind(pod.binding()))
		check(t, d.Unbind(pod.ifindex))
		if kind, err := ingressQdisc(pod.ifindex); kind != want || err != nil {
			t.Errorf("%s: qdisc %q, %v after unbind, want %q", pod.name, kind, err, want)
		}
	}
}

// Beside an ingress qdisc there can be no clsact: from_pod is attached, to_pod
// is reported.
func TestBesideIngressQdisc(t *testing.T) {
	n := newNode(t)
	n.opts.Attach = AttachClsact
	p := n.pod("dpingress", 1)
	d := n.load()
	defer stop(t, d)
	check(t, netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}))
	err := d.Bind(p.binding())
	var failed *AttachError
	if !errors.As(err, &failed) || failed.Hook != ToPod {
		t.Fatalf("bind: %v, want an AttachError for to_pod", err)
	}
	positions, err := d.Position(p.ifindex)
	check(t, err)
	if !positions[FromPod].First() || positions[ToPod].Attached || len(positions[ToPod].Ahead) > 0 {
		t.Errorf("%+v, want from_pod first, and to_pod not attached, with none ahead", positions)
	}
	check(t, d.Unbind(p.ifindex))
	if kind, err := ingressQdisc(p.ifindex); kind != "ingress" || err != nil {
		t.Errorf("qdisc %q, %v after unbind, want ingress left alone", kind, err)
	}
}

// A device that is deleted takes its links with it; its pins go at Unbind, and
// a device of the same number gets programs of its own.
func TestInterfaceGone(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		p := n.pod("dpgone", 1)
		d := n.load()
		defer stop(t, d)
		check(t, d.Apply(open(p)))
		check(t, d.Bind(p.binding()))
		check(t, d.Finish())
		l, err := netlink.LinkByIndex(p.ifindex)
		check(t, err)
		check(t, netlink.LinkDel(l))
		check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "dpgone2", Index: p.ifindex}, PeerName: "dpgone3"}))
		found := restore(t, d)
		if len(found) != 2 || found[0].Err != nil {
			t.Fatalf("found %+v, want both hooks of the new device put right", found)
		}
		firstOnBoth(t, d, p)
		check(t, d.Unbind(p.ifindex))
		for _, dir := range []string{d.opts.linksDir(), d.opts.qdiscDir()} {
			if left, _ := filepath.Glob(filepath.Join(dir, "[0-9]*")); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		}
		if err := d.Unbind(p.ifindex); !errors.Is(err, ErrNotBound) {
			t.Errorf("second unbind: %v, want ErrNotBound", err)
		}
	})
}

func TestCleanupLeavesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, n *node) {
		p := n.pod("dpclean", 1)
		d := n.load()
		check(t, d.Apply(open(p)))
		check(t, d.Bind(p.binding()))
		check(t, d.Finish())
		if err := Cleanup(n.opts, testLog(t)); !errors.Is(err, ErrLocked) {
			t.Fatalf("cleanup beside a running agent: %v, want ErrLocked", err)
		}
		firstOnBoth(t, d, p)
		ids := programsOf(t, d)
		stop(t, d)
		check(t, Cleanup(n.opts, testLog(t)))
		if _, err := os.Stat(n.opts.PinDir); !os.IsNotExist(err) {
			t.Errorf("pin directory: %v, want gone", err)
		}
		if kind, _ := ingressQdisc(p.ifindex); kind != "" {
			t.Errorf("qdisc %s is left", kind)
		}
		eventually(t, "the kernel frees the programs", func() bool {
			for _, id := range ids {
				if p, err := ebpf.NewProgramFromID(id); err == nil {
					p.Close()
					return false
				}
			}
			return true
		})
	})
}

func programsOf(t *testing.T, d *Datapath) []ebpf.ProgramID {
	t.Helper()
	var ids []ebpf.ProgramID
	for _, hook := range hooks {
		id, err := programID(d.program[hook])
		check(t, err)
		ids = append(ids, id)
	}
	return ids
}

func TestSecondAgentIsRefused(t *testing.T) {
	n := newNode(t)
	d := n.load()
	if _, err := Load(n.opts, testLog(t)); !errors.Is(err, ErrLocked) {
		t.Errorf("second load: %v, want ErrLocked", err)
	}
	stop(t, d)
	stop(t, n.load())
}

func TestOptionsName(t *testing.T) {
	bad := Options{PinDir: "x", LockPath: "y", Attach: "z", Unready: bpf.WeirModeMODE_ENFORCE, Sizes: Sizes{Ring: 5}}
	bad.Defaults()
	err := bad.Validate()
	if err == nil {
		t.Fatal("bad options pass")
	}
	if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != 5 {
		t.Errorf("%v, want five errors", err)
	}
	var zero Options
	zero.Defaults()
	if err := zero.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func restore(t *testing.T, d *Datapath) []Displaced {
	t.Helper()
	restored, err := d.Restore()
	if err != nil {
		t.Fatal(err)
	}
	return restored.Displaced
}
