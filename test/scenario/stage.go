// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/agent/datapath"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/netns"
)

// seats is how many pods of a scenario a Stage has room for.
const seats = 6

// Stage is a node of network namespaces with the data path in force, and pods
// that scenarios take over one after the other. Making one for each scenario
// would cost most of the time.
type Stage struct {
	node       *netns.Node
	wiring     netns.Wiring
	dp         *datapath.Datapath
	options    datapath.Options
	log        *slog.Logger
	seats      []*seat
	outside    *tap
	delivery   map[policy.Protocol][2]*tap // to the node itself; IPv4, IPv6
	gateway    net.HardwareAddr            // of bridged pods
	uplink     netlink.Link
	outsideMAC net.HardwareAddr
	serial     uint16

	stop   context.CancelFunc
	done   chan error
	mu     sync.Mutex
	events map[eventKey]bpf.WeirEvent
}

// seat is a pod's namespace, and the pod of the scenario that has it.
type seat struct {
	pod   *netns.Pod
	wire  *tap
	taken bool
	key   policy.ObjectKey
	addrs []netip.Addr
}

// NewStage needs root. The name makes namespaces and pins unique; it is at
// most 9 characters. Close removes everything.
func NewStage(name string, wiring netns.Wiring, log *slog.Logger) (*Stage, error) {
	s := &Stage{
		wiring: wiring, log: log, serial: 20000,
		options:  datapath.Options{PinDir: "/sys/fs/bpf/scenario-" + name, LockPath: filepath.Join(os.TempDir(), "scenario-"+name+".lock"), Poll: 10 * time.Millisecond, Forward: datapath.ForwardNone, Sizes: stageSizes()},
		delivery: map[policy.Protocol][2]*tap{}, events: map[eventKey]bpf.WeirEvent{},
	}
	if err := s.open(name); err != nil {
		return nil, errors.Join(fmt.Errorf("stage %s: %w", name, err), s.Close())
	}
	return s, nil
}

func stageSizes() datapath.Sizes {
	return datapath.Sizes{
		Endpoints: 64, LocalIPs: 128, Peers: 1024, Prefixes: 1024, Rows: 4096, Flows: 16384, Spill: 1024,
		Fragments: 64, Drops: 1024, Translated: 8, Tunnels: 8, Ring: 1 << 20,
	}
}

func (s *Stage) open(name string) error {
	var err error
	if s.node, err = netns.NewNode(name, netns.Options{Wiring: s.wiring}); err != nil {
		return err
	}
	if err := s.seat(); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	err = s.node.Do(func() (err error) {
		if s.dp, err = datapath.Load(s.options, s.log); err != nil {
			return err
		}
		return s.dp.Finish() // of an empty state: bound veths get their programs at once
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.done = stop, make(chan error, 1)
	go func() { s.done <- s.dp.Events(ctx, s.take) }()
	return nil
}

// seat makes the pods. Their own addresses serve nobody: what a scenario sends
// to a pod must not be answered by its namespace.
func (s *Stage) seat() error {
	for n := range seats {
		pod, err := s.node.AddPod(fmt.Sprintf("s%d", n),
			netip.AddrFrom4([4]byte{10, 244, 1, byte(200 + n)}), netip.MustParseAddr(fmt.Sprintf("fd00:10:244:1::f%d", n)))
		if err != nil {
			return err
		}
		wire, err := newWire(pod.Namespace, "eth0")
		if err != nil {
			return err
		}
		s.seats = append(s.seats, &seat{pod: pod, wire: wire})
	}
	return nil
}

// connect opens what is not a pod's, and sends everything unknown outside.
func (s *Stage) connect() error {
	var err error
	if s.outside, err = newWire(s.node.Outside, "eth0"); err != nil {
		return err
	}
	if s.uplink, err = s.node.Link.LinkByName("uplink"); err != nil {
		return err
	}
	far, err := s.node.Outside.Link.LinkByName("eth0")
	if err != nil {
		return err
	}
	s.outsideMAC = far.Attrs().HardwareAddr
	if s.wiring == netns.Bridged {
		bridge, err := s.node.Link.LinkByName("cni0")
		if err != nil {
			return err
		}
		s.gateway = bridge.Attrs().HardwareAddr
	}
	for _, via := range []netip.Addr{netns.OutsideAddr4, netns.OutsideAddr6} {
		everything := &net.IPNet{IP: make(net.IP, via.BitLen()/8), Mask: net.CIDRMask(0, via.BitLen())}
		route := &netlink.Route{LinkIndex: s.uplink.Attrs().Index, Dst: everything, Gw: via.AsSlice()}
		if err := s.node.Link.RouteReplace(route); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
		if err := s.neighbour(s.uplink.Attrs().Index, via, s.outsideMAC); err != nil {
			return err
		}
	}
	for _, p := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP, policy.ICMP, policy.ICMPv6} {
		var both [2]*tap
		for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
			if both[i], err = newDelivery(s.node.Namespace, family, p); err != nil {
				return err
			}
		}
		s.delivery[p] = both
	}
	return nil
}

// neighbour spares the node the question who has an address.
func (s *Stage) neighbour(link int, addr netip.Addr, mac net.HardwareAddr) error {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	err := s.node.Link.NeighSet(&netlink.Neigh{LinkIndex: link, Family: family, State: unix.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac})
	if err != nil {
		return fmt.Errorf("neighbour %s: %w", addr, err)
	}
	return nil
}

// lead sends an address to a seat.
func (s *Stage) lead(addr netip.Addr, to *seat) error {
	if s.wiring == netns.Bridged {
		bridge, err := s.node.Link.LinkByName("cni0")
		if err != nil {
			return err
		}
		return s.neighbour(bridge.Attrs().Index, addr, to.pod.MAC)
	}
	route := &netlink.Route{LinkIndex: to.pod.Ifindex, Dst: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}}
	if addr.Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if err := s.node.Link.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %s: %w", addr, err)
	}
	return s.neighbour(to.pod.Ifindex, addr, to.pod.MAC)
}

// taps are all that packets may arrive at.
func (s *Stage) taps() []*tap {
	all := []*tap{s.outside}
	for _, seat := range s.seats {
		all = append(all, seat.wire)
	}
	for _, both := range s.delivery {
		all = append(all, both[0], both[1])
	}
	return all
}

// Close removes namespaces, programs and pins.
func (s *Stage) Close() error {
	var errs []error
	if s.stop != nil {
		s.stop()
		errs = append(errs, <-s.done)
	}
	if s.dp != nil {
		errs = append(errs, s.dp.Close(), s.node.Do(func() error { return datapath.Cleanup(s.options, s.log) }))
	}
	for _, seat := range s.seats {
		errs = append(errs, seat.wire.close())
	}
	errs = append(errs, s.outside.close())
	for _, both := range s.delivery {
		errs = append(errs, both[0].close(), both[1].close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	_ = os.Remove(s.options.LockPath)
	return errors.Join(errs...)
}
