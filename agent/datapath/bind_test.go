// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
)

func TestBind(t *testing.T) {
	n := newNode(t)
	a, b := n.pod("dpbinda", 1), n.pod("dpbindb", 2)
	d := n.load()
	defer stop(t, d)
	check(t, d.Apply(generationOne(a)))
	check(t, d.Finish())
	mode := func(p *pod) bpf.WeirMode { return bpf.WeirMode(d.tables.endpoints[uint32(p.ifindex)].Mode) }

	check(t, d.Bind(a.binding())) // its sets came before it
	if d.tables.endpoints[uint32(a.ifindex)].SetIngress != 1 || mode(a) != bpf.WeirModeMODE_ENFORCE {
		t.Errorf("%+v, want set 1 enforced", d.tables.endpoints[uint32(a.ifindex)])
	}
	check(t, d.Bind(b.binding())) // nothing is known of it
	if mode(b) != bpf.WeirModeMODE_NOT_READY {
		t.Errorf("mode %d of a pod without sets, want not ready", mode(b))
	}
	thief := b.binding()
	thief.Addrs = append(thief.Addrs, a.addr)
	var conflict *ConflictError
	if err := d.Bind(thief); !errors.As(err, &conflict) || conflict.With != a.ifindex || conflict.Addr != a.addr {
		t.Errorf("bind another's address: %v, want a conflict", err)
	}
	if owner := d.tables.local[a.addr]; int(owner) != a.ifindex {
		t.Errorf("%s belongs to interface %d, want %d", a.addr, owner, a.ifindex)
	}
	epoch := epochOf(t, d)
	moved := a.binding()
	moved.Addrs = []netip.Addr{netip.MustParseAddr("10.7.1.99")}
	check(t, d.Bind(moved))
	if owner, ok := d.tables.local[a.addr]; ok || epochOf(t, d) == epoch {
		t.Errorf("%s still belongs to interface %d, or its flows are not judged again", a.addr, owner)
	}
	check(t, d.Bind(a.binding()))
	reborn := a.binding()
	reborn.UID = "another"
	check(t, d.Bind(reborn))
	if mode(a) != bpf.WeirModeMODE_NOT_READY || d.tables.endpoints[uint32(a.ifindex)].SetIngress != 0 {
		t.Errorf("%+v for another pod of the name, want not ready", d.tables.endpoints[uint32(a.ifindex)])
	}
	l, err := netlink.LinkByIndex(a.ifindex)
	check(t, err)
	check(t, netlink.LinkDel(l)) // its veth is gone: the address is free
	check(t, d.Bind(thief))
	check(t, d.Unbind(a.ifindex))
	if owner := d.tables.local[a.addr]; int(owner) != b.ifindex {
		t.Errorf("unbinding the old owner took %s from the new one", a.addr)
	}
	check(t, d.Apply(compile.Update{Subjects: []compile.SubjectSets{b.sets(1, 1)}}))
	check(t, d.Apply(compile.Update{GoneSubjects: []policy.ObjectKey{b.key()}}))
	if mode(b) != bpf.WeirModeMODE_NOT_READY {
		t.Errorf("mode %d of a pod that the API has no more, want not ready", mode(b))
	}
	if err := d.Bind(Binding{Ifindex: loopback}); err == nil {
		t.Error("the loopback device is bound")
	}
}

func TestTooManyEndpoints(t *testing.T) {
	n := newNode(t)
	n.opts.Sizes.Endpoints = 2
	d := n.load()
	defer stop(t, d)
	for i, want := range []error{nil, nil, ErrFull} {
		p := n.pod("dpmany"+string(rune('a'+i)), byte(i+1))
		if err := d.Bind(p.binding()); !errors.Is(err, want) {
			t.Errorf("endpoint %d: %v, want %v", i, err, want)
		}
	}
}

func TestPorts(t *testing.T) {
	n := newNode(t)
	d := n.load()
	defer stop(t, d)
	for _, ports := range [][]uint16{{1, 2, 3}, {3, 4}, nil, {4789}} {
		check(t, d.SetTunnels(ports))
		got := map[bpf.WeirPortKey]uint8{}
		check(t, each(d.maps[bpf.WeirMapTunnels], func(k bpf.WeirPortKey, v uint8) { got[k] = v }))
		if len(got) != len(ports) {
			t.Errorf("%d ports in the map, want %d", len(got), len(ports))
		}
		for _, port := range ports {
			if got[bpf.WeirPortKey{Port: bigEndian(port), Protocol: 17}] != 1 {
				t.Errorf("port %d is missing", port)
			}
		}
	}
	if err := d.SetTunnels([]uint16{1, 2, 3, 4, 5}); !errors.Is(err, ErrFull) {
		t.Errorf("five ports in a map of four: %v, want ErrFull", err)
	}
}
