// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// needKernel skips, with the reason, what needs root.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
		t.Fatal("not root, and WEIR_KERNEL_TESTS=1 asks for the tests that need it")
	}
	t.Skip("needs root: makes network namespaces")
}

// space is a network namespace of the test's own, without a name: it ends with
// its handles.
type space struct {
	t  *testing.T
	ns netns.NsHandle
	*netlink.Handle
}

func newSpace(t *testing.T) *space {
	t.Helper()
	needKernel(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	ns, err := netns.New()
	must(t, err)
	must(t, netns.Set(home))
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	must(t, err)
	s := &space{t: t, ns: ns, Handle: h}
	t.Cleanup(func() {
		h.Close()
		if s.ns.IsOpen() {
			must(t, s.ns.Close())
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within runs f on a thread in the namespace.
func (s *space) within(f func()) {
	s.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(s.t, err)
	defer home.Close()
	must(s.t, netns.Set(s.ns))
	defer func() { must(s.t, netns.Set(home)) }()
	f()
}

// veth makes a pair, the other end as eth0 in pod, and returns the index here.
func (s *space) veth(name string, pod *space) int {
	s.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	must(s.t, s.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(pod.ns)}))
	s.up(name)
	pod.up("eth0")
	return s.index(name)
}

func (s *space) index(name string) int {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	return l.Attrs().Index
}

func (s *space) up(name string) {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	must(s.t, s.LinkSetUp(l))
}

func (s *space) addr(name, cidr string) {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	a, err := netlink.ParseAddr(cidr)
	must(s.t, err)
	a.Flags = unix.IFA_F_NODAD
	must(s.t, s.AddrAdd(l, a))
}

func (s *space) del(name string) {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	must(s.t, s.LinkDel(l))
}
