// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// eachForward runs f with each way to judge after translation that the kernel
// has.
func eachForward(t *testing.T, f func(t *testing.T, n *node)) {
	for _, kind := range []ForwardKind{ForwardNetfilter, ForwardXtables} {
		t.Run(string(kind), func(t *testing.T) {
			n := newNode(t)
			if err := bpf.NetfilterPrograms(); kind == ForwardNetfilter && errors.Is(err, ebpf.ErrNotSupported) {
				t.Skip(err)
			}
			if kind == ForwardXtables {
				if err := probeMatch(); err != nil {
					t.Skipf("no match of xt_bpf: %v", err)
				}
			}
			n.opts.Forward = kind
			f(t, n)
		})
	}
}

func attachedAfter(t *testing.T, d *Datapath) bool {
	t.Helper()
	attached, err := d.forward.place.Attached(d.forward.program)
	check(t, err)
	return attached
}

func marksOf(t *testing.T, d *Datapath) resolve.Marks {
	t.Helper()
	m, err := d.Marks()
	check(t, err)
	return m
}

// waitGone: the kernel lets go of a program some time after its last user did.
func waitGone(t *testing.T, id ebpf.ProgramID) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return
		}
		p.Close()
		if time.Now().After(deadline) {
			t.Fatalf("program %d is still there", id)
		}
	}
}

// A run takes the place over from the one before, and nothing of that is left.
func TestForwardTakesOver(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		p := n.pod("dpfwd", 1)
		old := n.load()
		check(t, old.Bind(p.binding()))
		check(t, old.Apply(generationOne(p)))
		if !attachedAfter(t, old) {
			t.Fatal("a program that defers is attached, and nothing judges after translation")
		}
		check(t, old.Finish())
		before := mustID(t, old.forward.program)
		stop(t, old)

		d := n.load()
		defer stop(t, d)
		check(t, d.Bind(p.binding()))
		check(t, d.Apply(nextRun(p, marksOf(t, d))))
		check(t, d.Finish())
		if !attachedAfter(t, d) {
			t.Error("the new program is not attached")
		}
		waitGone(t, before)
		if left, _ := filepath.Glob(filepath.Join(d.opts.linksDir(), "*"+newSuffix)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// Another agent may be told another way: the old one goes, and only then.
func TestForwardChangesKind(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		first := n.load()
		check(t, first.Finish())
		place, program := first.forward.place, first.forward.program
		for _, kind := range []ForwardKind{ForwardNetfilter, ForwardXtables, ForwardNone} {
			if kind == first.forward.kind || kind == ForwardNetfilter && bpf.NetfilterPrograms() != nil {
				continue
			}
			check(t, first.lock.Close()) // the program is still asked about
			first.lock = nil
			n.opts.Forward = kind
			d := n.load()
			if attached, err := place.Attached(program); !attached || err != nil {
				t.Errorf("before Finish: attached %v, %v", attached, err)
			}
			check(t, d.Finish())
			if attached, err := place.Attached(program); attached || err != nil {
				t.Errorf("after Finish: attached %v, %v", attached, err)
			}
			stop(t, d)
			break
		}
		stop(t, first)
	})
}

func TestForwardIsPutBack(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		d := n.load()
		defer stop(t, d)
		if found, err := d.RestoreForward(); found != "" || err != nil {
			t.Errorf("before Finish: %q, %v", found, err)
		}
		check(t, d.Finish())
		if found, err := d.RestoreForward(); found != "" || err != nil {
			t.Errorf("in place: %q, %v", found, err)
		}
		check(t, d.forward.place.Detach())
		if attachedAfter(t, d) {
			t.Fatal("attached after Detach")
		}
		if found, err := d.RestoreForward(); !strings.Contains(found, "again") || err != nil {
			t.Errorf("lost: %q, %v", found, err)
		}
		if !attachedAfter(t, d) {
			t.Error("not put back")
		}
	})
}

// A link that was detached by force keeps its pin, and looks as before.
func TestForcedDetachIsSeen(t *testing.T) {
	n := newNode(t)
	if err := bpf.NetfilterPrograms(); err != nil {
		t.Skip(err)
	}
	if _, err := listForward(unix.NFPROTO_IPV4); err != nil {
		t.Skipf("the kernel does not list its hooks (CONFIG_NETFILTER_NETLINK_HOOK): %v", err)
	}
	d := n.load()
	defer stop(t, d)
	check(t, d.Finish())
	l, err := link.LoadPinnedLink(filepath.Join(d.opts.linksDir(), "forward-ipv6"), nil)
	check(t, err)
	defer l.Close()
	check(t, l.Detach())
	if found, err := d.RestoreForward(); !strings.Contains(found, "again") || err != nil {
		t.Errorf("%q, %v", found, err)
	}
	if !attachedAfter(t, d) {
		t.Error("not put back")
	}
}

// lockedOut cannot be attached, as where a module or a right has gone.
type lockedOut struct{ forwarder }

func (lockedOut) Attach(*ebpf.Program, bool) error     { return unix.EPERM }
func (lockedOut) Attached(*ebpf.Program) (bool, error) { return false, nil }

// Where nothing can judge after translation the pods' programs deny again.
func TestForwardIsGivenUp(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		p := n.pod("dpgive", 1)
		d := n.load()
		defer stop(t, d)
		check(t, d.Bind(p.binding()))
		check(t, d.Apply(judged(p)))
		check(t, d.Finish())
		service := netip.MustParseAddr("10.96.0.1")
		ask := func(want bpf.WeirReason, code uint32) {
			t.Helper()
			a, err := d.Judge(p.key(), Question{policy.Egress, service, policy.TCP, 443})
			check(t, err)
			if a.Reason != want {
				t.Errorf("reason %d, want %d", a.Reason, want)
			}
			if got := runAt(t, d, p.ifindex, probe{hook: FromPod, src: p.addr, dst: service, port: 443}); got != code {
				t.Errorf("the program answers %d, want %d", int32(got), int32(code))
			}
		}
		ask(bpf.WeirReasonREASON_DEFERRED, codePass)
		_, before := attachments(t, d, p)
		d.forward.place = lockedOut{d.forward.place}
		if found, err := d.RestoreForward(); found == "" || !errors.Is(err, unix.EPERM) {
			t.Errorf("cannot be put back: %q, %v", found, err)
		}
		ask(bpf.WeirReasonREASON_NO_HOOK, codeDrop)
		if _, now := attachments(t, d, p); slices.ContainsFunc(now, func(id ebpf.ProgramID) bool { return slices.Contains(before, id) }) {
			t.Errorf("programs %v were attached, and %v are now", before, now)
		}
		firstOnBoth(t, d, p)
		for _, f := range d.Features() {
			if f.Name == "verdict after translation" && (f.InUse || !strings.Contains(f.Note, "operation not permitted")) {
				t.Errorf("%+v", f)
			}
		}
	})
}

// The programs of the run before work on until Finish, and so does what judges
// after them.
func TestForwardStaysUntilFinish(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		kept, fresh := n.pod("dpkept", 1), n.pod("dpfresh", 2)
		old := n.load()
		check(t, old.Bind(kept.binding()))
		check(t, old.Apply(generationOne(kept)))
		check(t, old.Finish())
		place, before := old.forward.place, mustID(t, old.forward.program)
		check(t, old.lock.Close())
		old.lock = nil

		d := n.load()
		defer stop(t, d)
		check(t, d.Bind(kept.binding()))
		check(t, d.Bind(fresh.binding())) // nothing is attached there yet
		if attached, err := place.Attached(old.forward.program); !attached || err != nil {
			t.Errorf("the old program after a Bind: attached %v, %v", attached, err)
		}
		check(t, d.Apply(nextRun(kept, marksOf(t, d))))
		check(t, d.Finish())
		if !attachedAfter(t, d) {
			t.Error("the new program is not attached after Finish")
		}
		stop(t, old)
		waitGone(t, before)
	})
}

func TestForwardOptions(t *testing.T) {
	for _, row := range []struct {
		kind ForwardKind
		good bool
	}{{"", true}, {ForwardAuto, true}, {ForwardNetfilter, true}, {ForwardXtables, true}, {ForwardNone, true}, {"iptables", false}} {
		o := Options{Forward: row.kind}
		o.Defaults()
		if err := o.Validate(); (err == nil) != row.good {
			t.Errorf("%q: %v", row.kind, err)
		}
	}
}

func TestForwardNoneAttachesNothing(t *testing.T) {
	n := newNode(t)
	n.opts.Forward = ForwardNone
	d := n.load()
	defer stop(t, d)
	check(t, d.Finish())
	if left, _ := os.ReadDir(d.opts.linksDir()); len(left) > 0 {
		t.Errorf("pinned: %v", left)
	}
	for _, family := range matchFamilies {
		if rules, err := listRules(family); len(rules) > 0 || err != nil {
			t.Errorf("%d rules, %v", len(rules), err)
		}
	}
}

// addIPVS makes an interface of the name that kube-proxy gives to its own.
func addIPVS(t *testing.T) {
	t.Helper()
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}, PeerName: "dppeer"}))
}

// IPVS goes past the hook, so a program there would let everything through.
func TestForwardBesideIPVS(t *testing.T) {
	n := newNode(t)
	addIPVS(t)
	d := n.load()
	if d.forward.kind != ForwardNone || !strings.Contains(d.forward.why, "kube-ipvs0") {
		t.Errorf("%s: %s", d.forward.kind, d.forward.why)
	}
	stop(t, d)
	n.opts.Forward = ForwardXtables
	if d, err := Load(n.opts, testLog(t)); err == nil || !strings.Contains(err.Error(), "kube-ipvs0") {
		t.Errorf("asked for xtables: %v, want an error that names kube-ipvs0", err)
		if d != nil {
			stop(t, d)
		}
	}
}

// kube-proxy may be started with IPVS when the agent runs already.
func TestIPVSComes(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		d := n.load()
		defer stop(t, d)
		check(t, d.Finish())
		addIPVS(t)
		if found, err := d.RestoreForward(); !strings.Contains(found, "kube-ipvs0") || err != nil {
			t.Errorf("%q, %v", found, err)
		}
		if d.forward.kind != ForwardNone {
			t.Errorf("%s is still in use", d.forward.kind)
		}
		if left, _ := filepath.Glob(filepath.Join(d.opts.linksDir(), "forward-*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// What a pod may send passes the two programs behind translation at every step
// of a start: until its Finish, this run's knows nothing of the pod to go by.
func TestForwardBeforeFinish(t *testing.T) {
	eachForward(t, func(t *testing.T, n *node) {
		p, q := n.pod("dpsends", 1), n.pod("dptakes", 2)
		check(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
		listener := -1
		q.inside(func() {
			var err error
			listener, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			check(t, err)
			check(t, unix.Bind(listener, &unix.SockaddrInet4{Port: 9}))
			check(t, unix.SetsockoptTimeval(listener, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}))
			check(t, netlink.RouteAdd(&netlink.Route{Gw: q.gateway.AsSlice()}))
		})
		defer unix.Close(listener)
		p.inside(func() { check(t, netlink.RouteAdd(&netlink.Route{Gw: p.gateway.AsSlice()})) })
		arrives := func(step string) {
			t.Helper()
			p.inside(func() { sendUDP(t, q.addr, 9) }) // from a port of its own: no known flow
			if _, _, err := unix.Recvfrom(listener, make([]byte, 16), 0); err != nil {
				t.Errorf("after %s: nothing arrives: %v", step, err)
			}
		}
		allow := func(m resolve.Marks) compile.Update {
			set, class, rule := uint32(m.Set)+1, uint32(m.Class)+1, uint32(m.Rule)+1
			row := tcpRow(set, class, 9, rule)
			row.Key.Protocol = uint8(policy.UDP)
			return compile.Update{
				Rows:     []bpf.WeirRow{row},
				Peers:    []resolve.PeerChange{{Addr: q.addr, Class: resolve.ClassID(class)}},
				Subjects: []compile.SubjectSets{p.sets(0, resolve.SetID(set))},
			}
		}
		old := n.load()
		check(t, old.Bind(p.binding()))
		check(t, old.Apply(allow(marksOf(t, old))))
		check(t, old.Finish())
		arrives("the start of the run before")
		stop(t, old)

		n.opts.Sizes.Flows *= 2 // or it would go by the entries of the run before
		d := n.load()
		defer stop(t, d)
		r := &recorder{store: d.store, after: arrives}
		d.store = r
		check(t, d.Bind(p.binding()))
		check(t, d.Bind(p.binding()))
		check(t, d.Apply(allow(marksOf(t, d))))
		check(t, d.Finish())
		d.store = r.store
		want := []string{"put endpoints", "put local_ips", "put rows", "put peers", "put endpoints"}
		if diff := cmp.Diff(want, r.log[:min(len(want), len(r.log))]); diff != "" {
			t.Errorf("order of writes (-want +got):\n%s", diff)
		}
		if got := d.tables.endpoints[uint32(p.ifindex)].Flags; got&uint8(bpf.WeirEndpointFlagEP_HANDOVER) != 0 {
			t.Errorf("flags %#x after Finish: the run before would judge it for ever", got)
		}
		arrives("Finish")
	})
}
