// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second

// reading is a running Reader and what it told.
type reading struct {
	t      *testing.T
	reader *Reader
	stop   func()

	mu     sync.Mutex
	hold   sync.Mutex // held: events are not taken
	links  map[int]Link
	hints  map[int][]netip.Addr
	told   map[int]int // hints of each interface
	node   Node
	listed bool
	first  *Event
}

func startReader(s *space, change func(*Reader)) *reading {
	s.t.Helper()
	var reader *Reader
	s.within(func() {
		var err error
		reader, err = NewReader(slog.New(slog.DiscardHandler))
		must(s.t, err)
	})
	if change != nil {
		change(reader)
	}
	r := &reading{t: s.t, reader: reader, links: make(map[int]Link), hints: make(map[int][]netip.Addr), told: make(map[int]int)}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan Event)
	var done sync.WaitGroup
	done.Go(func() {
		for e := range out {
			r.take(e)
		}
	})
	done.Go(func() {
		if err := reader.Run(ctx, out); err != nil {
			s.t.Errorf("run: %v", err)
		}
	})
	r.stop = func() { cancel(); done.Wait() }
	s.t.Cleanup(r.stop)
	r.until("listed", func() bool { return r.listed })
	return r
}

func (r *reading) take(e Event) {
	r.hold.Lock()
	defer r.hold.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = &e
	}
	for _, i := range e.Gone {
		if _, known := r.links[i]; !known {
			r.t.Errorf("interface %d is gone, and was never there", i)
		}
		delete(r.links, i)
		delete(r.hints, i)
	}
	for _, l := range e.Links {
		r.links[l.Index] = l
	}
	for _, h := range e.Hints {
		r.hints[h.Index] = h.Addrs
		r.told[h.Index]++
	}
	if e.Node != nil {
		r.node = *e.Node
	}
	r.listed = r.listed || e.Listed
}

func (r *reading) until(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		ok := holds()
		r.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("not within %s: %s; links %v, hints %v, node %+v", patience, what, r.links, r.hints, r.node)
		}
	}
}

func (r *reading) untilHint(index int, want ...string) {
	r.t.Helper()
	r.until(fmt.Sprintf("hint %v of %d", want, index), func() bool { return r.hasHint(index, want...) })
}

func (r *reading) hasHint(index int, want ...string) bool {
	var global []string
	for _, a := range r.hints[index] {
		if usable(a) {
			global = append(global, a.String())
		}
	}
	return slices.Equal(global, want)
}

func TestReaderListsWhatIsThere(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	index := node.veth("ep-a", pod)
	pod.addr("eth0", "10.77.0.2/24")
	pod.addr("eth0", "fd77::2/64")
	r := startReader(node, nil)
	if e := r.first; !e.Listed || e.Node == nil || len(e.Links) < 2 || len(e.Hints) != 1 {
		t.Fatalf("first event: %+v", e)
	}
	r.untilHint(index, "10.77.0.2", "fd77::2")
	l := r.links[index]
	if l.Name != "ep-a" || l.Kind != "veth" || !l.Elsewhere || l.Peer != pod.index("eth0") {
		t.Errorf("link: %+v", l)
	}
}

// The order of a CNI plugin: the veth, its other end into the pod, up, and then
// the address; without and with notices of the pod's namespace.
func TestReaderFollowsANewPod(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			node, pod := newSpace(t), newSpace(t)
			r := startReader(node, func(r *Reader) {
				if deaf {
					must(t, r.foreign.close())
					r.foreign = nil
				}
			})
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "ep-b"
			must(t, node.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "ep-peer"}))
			index := node.index("ep-b")
			r.until("both ends here", func() bool { return r.links[index].Name == "ep-b" && !r.links[index].Elsewhere })
			peer, err := node.LinkByName("ep-peer")
			must(t, err)
			must(t, node.LinkSetNsFd(peer, int(pod.ns)))
			r.until("other end elsewhere", func() bool { return r.links[index].Elsewhere })
			node.up("ep-b")
			pod.up("ep-peer")
			begin := time.Now()
			pod.addr("ep-peer", "10.77.0.3/24")
			r.untilHint(index, "10.77.0.3")
			t.Logf("address to hint: %s", time.Since(begin))
			pod.addr("ep-peer", "10.77.0.4/24")
			if !deaf {
				r.untilHint(index, "10.77.0.3", "10.77.0.4")
			}
			node.del("ep-b")
			r.until("gone", func() bool { _, there := r.links[index]; return !there })
		})
	}
}

func TestReaderFollowsByIndex(t *testing.T) {
	node, pod, other := newSpace(t), newSpace(t), newSpace(t)
	index := node.veth("ep-c", pod)
	pod.addr("eth0", "10.77.0.5/24")
	r := startReader(node, nil)
	r.untilHint(index, "10.77.0.5")
	l, err := node.LinkByName("ep-c")
	must(t, err)
	must(t, node.LinkSetDown(l))
	must(t, node.LinkSetName(l, "ep-d"))
	r.until("renamed", func() bool { return r.links[index].Name == "ep-d" })
	must(t, node.LinkSetNsFd(l, int(other.ns)))
	r.until("moved away", func() bool { _, there := r.links[index]; return !there })
}

// The namespace ends, and with it the pair.
func TestReaderSeesANamespaceEnd(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	index := node.veth("ep-e", pod)
	r := startReader(node, nil)
	pod.Handle.Close()
	must(t, pod.ns.Close())
	r.until("gone", func() bool { _, there := r.links[index]; return !there })
}

// A port that leaves its bridge is told as a deletion of the family of bridges,
// and the interface is still there.
func TestReaderKeepsAPortThatLeavesItsBridge(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	index := node.veth("ep-f", pod)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "ep-br"
	must(t, node.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	r := startReader(node, nil)
	port, err := node.LinkByName("ep-f")
	must(t, err)
	bridge, err := node.LinkByName("ep-br")
	must(t, err)
	must(t, node.LinkSetMaster(port, bridge))
	r.until("port", func() bool { return r.node.Bridge.Ports })
	must(t, node.LinkSetNoMaster(port))
	r.until("no port", func() bool { return !r.node.Bridge.Ports })
	if _, there := r.links[index]; !there {
		t.Error("the interface is told as gone")
	}
}

func TestReaderNodeAddresses(t *testing.T) {
	node := newSpace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "ep-br"
	must(t, node.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	node.up("lo")
	node.up("ep-br")
	r := startReader(node, nil)
	node.addr("ep-br", "192.0.2.1/24")
	node.addr("ep-br", "2001:db8::1/64")
	has := func(text string) bool { return slices.Contains(r.node.Addrs, netip.MustParseAddr(text)) }
	r.until("addresses", func() bool {
		return has("192.0.2.1") && has("192.0.2.255") && has("2001:db8::1") && !has("127.0.0.1") && !has("::1")
	})
	br, err := node.LinkByName("ep-br")
	must(t, err)
	_, any198, err := net.ParseCIDR("198.51.100.0/24")
	must(t, err)
	must(t, node.RouteAdd(&netlink.Route{LinkIndex: br.Attrs().Index, Dst: any198, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}))
	r.until("local prefix", func() bool {
		return slices.Equal(r.node.Prefixes, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")})
	})
	node.del("ep-br")
	r.until("none", func() bool { return len(r.node.Addrs) == 0 && len(r.node.Prefixes) == 0 })
}

func TestReaderTunnelPorts(t *testing.T) {
	node := newSpace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "ep-vx"
	err := node.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4790})
	if err != nil {
		t.Skipf("the kernel has no vxlan: %v", err)
	}
	r := startReader(node, nil)
	r.until("port", func() bool { return slices.Equal(r.node.TunnelPorts, []uint16{4790}) })
	node.del("ep-vx")
	r.until("no port", func() bool { return len(r.node.TunnelPorts) == 0 })
}

// More notices than the socket holds, while nobody reads: in the end all is
// told that is there, and nothing that is not.
func TestReaderOverrun(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	r := startReader(node, func(r *Reader) {
		conn, err := r.own.file.SyscallConn()
		must(t, err)
		must(t, conn.Control(func(fd uintptr) {
			must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1))
		}))
	})
	r.hold.Lock()
	var kept []int
	for i := range 30 {
		name := fmt.Sprintf("ep-o%d", i)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		must(t, node.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(pod.ns)}))
		node.up(name)
		if i%2 == 0 {
			node.del(name)
		} else {
			kept = append(kept, node.index(name))
		}
	}
	r.hold.Unlock()
	r.until("all that is there", func() bool {
		veths := 0
		for _, l := range r.links {
			if l.Kind == vethKind {
				veths++
			}
		}
		return veths == len(kept) && !slices.ContainsFunc(kept, func(i int) bool { return r.links[i].Name == "" })
	})
}

// A pod that changes its addresses all the time gets few looks.
func TestReaderPausesBetweenLooks(t *testing.T) {
	node, pod := newSpace(t), newSpace(t)
	index := node.veth("ep-p", pod)
	pod.addr("eth0", "10.77.0.2/24")
	r := startReader(node, nil)
	r.untilHint(index, "10.77.0.2")
	begin := time.Now()
	for i := range 200 {
		pod.addr("eth0", fmt.Sprintf("10.77.1.%d/24", i+1))
	}
	r.until("the last", func() bool { return len(r.hints[index]) >= 201 })
	if most := int(time.Since(begin)/lookPauseFound) + 2; r.told[index] > most {
		t.Errorf("%d hints in %s, at most %d fit", r.told[index], time.Since(begin), most)
	}
}

func TestReaderLeavesNoDescriptors(t *testing.T) {
	node := newSpace(t)
	before := descriptors(t)
	for range 3 {
		startReader(node, nil).stop()
		var r *Reader
		node.within(func() {
			var err error
			r, err = NewReader(slog.New(slog.DiscardHandler))
			must(t, err)
		})
		must(t, r.Close())
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestLinkByName(t *testing.T) {
	if _, err := LinkByName("weir-none"); err == nil {
		t.Error("found what is not there")
	}
	if l, err := LinkByName("lo"); err != nil || l.Index == 0 || l.Elsewhere {
		t.Errorf("lo: %+v %v", l, err)
	}
}

func TestReadBridge(t *testing.T) {
	proc := t.TempDir()
	if got := readBridge(proc); got != (BridgeNetfilter{}) {
		t.Errorf("no module: %+v", got)
	}
	must(t, os.MkdirAll(proc+"/sys/net/bridge", 0o700))
	must(t, os.WriteFile(proc+"/sys/net/bridge/bridge-nf-call-iptables", []byte("1\n"), 0o600))
	must(t, os.WriteFile(proc+"/sys/net/bridge/bridge-nf-call-ip6tables", []byte("0\n"), 0o600))
	if got := readBridge(proc); got != (BridgeNetfilter{Loaded: true, IPv4: true}) {
		t.Errorf("module: %+v", got)
	}
}
