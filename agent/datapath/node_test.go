// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
	"github.com/weirnet/weir/policy/resolve"
)

// TestMain fails on goroutines, and on BPF objects whose descriptors nobody
// has closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if left := openObjects(); code == 0 && len(left) > 0 {
			fmt.Fprintln(os.Stderr, "descriptors are left open:", left)
			code = 1
		}
		os.Exit(code)
	}))
}

func openObjects() []string {
	var left []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && (strings.Contains(to, "bpf-") || strings.Contains(to, "bpf_") || strings.HasPrefix(to, "net:")) {
			left = append(left, to)
		}
	}
	return left
}

// needKernel skips without root, and fails instead where the run must not skip.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") != "" {
		t.Fatal("WEIR_KERNEL_TESTS is set, and this is not root")
	}
	t.Skip("needs root: loads BPF programs and makes network namespaces")
}

// node is a network namespace of its own with pods behind veths, and options
// with pins and a lock that nobody else has. The test's goroutine stays on its
// thread, which ends with it, and the namespace with the thread.
type node struct {
	t    *testing.T
	home netns.NsHandle
	opts Options
}

func newNode(t *testing.T) *node {
	t.Helper()
	needKernel(t)
	runtime.LockOSThread()
	home, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { home.Close() })
	n := &node{t: t, home: home, opts: smallOptions(t)}
	n.up("lo")
	return n
}

func smallOptions(t *testing.T) Options {
	t.Helper()
	log := testLog(t)
	if err := ensureBPFFS("/sys/fs/bpf/weir", log); err != nil {
		t.Fatal(err)
	}
	pins, err := os.MkdirTemp("/sys/fs/bpf", "datapath-test-*")
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{PinDir: pins, LockPath: filepath.Join(t.TempDir(), "lock"), Sizes: smallSizes(), Poll: 20 * time.Millisecond}
	t.Cleanup(func() {
		if err := Cleanup(opts, log); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(pins); !os.IsNotExist(err) {
			t.Errorf("pins are left in %s: %v", pins, err)
		}
	})
	return opts
}

func smallSizes() Sizes {
	return Sizes{
		Endpoints: 16, LocalIPs: 32, Peers: 16, Prefixes: 8, Rows: 16, Flows: 4096, Spill: 1024,
		Fragments: 64, Drops: 256, Translated: 8, Tunnels: 4, Ring: 1 << 16,
	}
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func (n *node) up(name string) netlink.Link {
	n.t.Helper()
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return l
}

// pod is one end of a veth in a namespace of its own.
type pod struct {
	n       *node
	name    string
	ns      netns.NsHandle
	ifindex int // of the host's end
	addr    netip.Addr
	gateway netip.Addr
}

// pod makes a veth with number as the third octet: host .1, pod .2.
func (n *node) pod(name string, number byte) *pod {
	n.t.Helper()
	must := func(err error) {
		n.t.Helper()
		if err != nil {
			n.t.Fatal(err)
		}
	}
	ns, err := netns.New()
	must(err)
	must(netns.Set(n.home))
	n.t.Cleanup(func() { ns.Close() })
	host := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns)),
	}
	must(netlink.LinkAdd(host))
	p := &pod{
		n: n, name: name, ns: ns, gateway: netip.AddrFrom4([4]byte{10, 7, number, 1}), addr: netip.AddrFrom4([4]byte{10, 7, number, 2}),
	}
	l := n.up(name)
	p.ifindex = l.Attrs().Index
	addAddress(n.t, l, p.gateway)
	p.inside(func() { addAddress(n.t, n.up("eth0"), p.addr) })
	return p
}

func addAddress(t *testing.T, l netlink.Link, a netip.Addr) {
	t.Helper()
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
}

// inside runs f in the pod's namespace.
func (p *pod) inside(f func()) {
	p.n.t.Helper()
	if err := netns.Set(p.ns); err != nil {
		p.n.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(p.n.home); err != nil {
			p.n.t.Fatal(err)
		}
	}()
	f()
}

func (p *pod) key() policy.ObjectKey { return policy.ObjectKey{Namespace: "test", Name: p.name} }

func (p *pod) binding() Binding {
	return Binding{
		Ifindex: p.ifindex, Ifname: p.name, Pod: p.key(), UID: "uid-" + p.name, Addrs: []netip.Addr{p.addr},
		Mode: bpf.WeirModeMODE_ENFORCE,
	}
}

func (p *pod) sets(ingress, egress resolve.SetID) compile.SubjectSets {
	return compile.SubjectSets{
		SubjectChange: resolve.SubjectChange{Pod: p.key(), UID: "uid-" + p.name, Ingress: ingress, Egress: egress},
		IngressAny:    true, EgressAny: true,
	}
}

// static tells the node the pod's link address: the pod's ARP is judged too,
// and a lost answer would show as a lost packet.
func (p *pod) static(t *testing.T) {
	t.Helper()
	var mac net.HardwareAddr
	p.inside(func() {
		l, err := netlink.LinkByName("eth0")
		check(t, err)
		mac = l.Attrs().HardwareAddr
	})
	check(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: p.ifindex, IP: p.addr.AsSlice(), HardwareAddr: mac, State: unix.NUD_PERMANENT, Family: unix.AF_INET,
	}))
}

// send sends a datagram from the pod to its gateway.
func (p *pod) send(port int) {
	p.n.t.Helper()
	p.inside(func() { sendUDP(p.n.t, p.gateway, port) })
}

// receive sends a datagram from the node to the pod.
func (p *pod) receive(port int) {
	p.n.t.Helper()
	sendUDP(p.n.t, p.addr, port)
}

func sendUDP(t *testing.T, to netip.Addr, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// A denial may show as an error of the socket.
	if err := unix.Sendto(fd, []byte("weir"), 0, &unix.SockaddrInet4{Port: port, Addr: to.As4()}); err != nil {
		t.Logf("send to %s: %v", to, err)
	}
}

func (n *node) load() *Datapath {
	n.t.Helper()
	return load(n.t, n.opts)
}

func load(t *testing.T, opts Options) *Datapath {
	t.Helper()
	d, err := Load(opts, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed && d.lock != nil {
			d.Close()
		}
	})
	return d
}

// stop ends an agent as a restart does: all stays in the kernel.
func stop(t *testing.T, d *Datapath) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.lock = nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// observer is a neighbour on the hook: it counts IPv4 packets, and passes all on.
type observer struct {
	program *ebpf.Program
	count   *ebpf.Map
}

func newObserver(t *testing.T, name string) *observer {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	check(t, err)
	t.Cleanup(func() { m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, 16, asm.Word), // __sk_buff.protocol
		asm.HostTo(asm.BE, asm.R3, asm.Half),
		asm.JNE.Imm(asm.R3, unix.ETH_P_IP, "end"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("end"),
		asm.Return(),
	}})
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return &observer{p, m}
}

func (o *observer) seen(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	check(t, o.count.Lookup(uint32(0), &n))
	return n
}

func (o *observer) onTCX(t *testing.T, ifindex int, hook Hook, anchor link.Anchor) link.Link {
	t.Helper()
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: o.program, Attach: hook.tcx(), Anchor: anchor})
	check(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func (o *observer) onClsact(t *testing.T, ifindex int, hook Hook, prio uint16, handle uint32) {
	t.Helper()
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(q); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	check(t, netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: hook.parent(), Handle: handle, Protocol: unix.ETH_P_ALL, Priority: prio},
		Fd:          o.program.FD(), Name: "observer", DirectAction: true,
	}))
}

// open is an update that isolates nobody.
func open(pods ...*pod) compile.Update {
	var u compile.Update
	for _, p := range pods {
		u.Subjects = append(u.Subjects, p.sets(0, 0))
	}
	return u
}
