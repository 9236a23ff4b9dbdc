// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	weirv1 "github.com/weirnet/weir/api/v1"
	"github.com/weirnet/weir/test/netns"
	"github.com/weirnet/weir/test/node"
)

// What a crowd sends goes to these addresses (RFC 2544). The node has no way
// there and drops it behind the programs: so a flow has one end at a pod, and
// is one event.
var (
	nowhere = netip.MustParsePrefix("198.18.0.0/15")
	passing = netip.MustParsePrefix("198.18.0.0/16")
	barring = netip.MustParsePrefix("198.19.0.0/16")
)

const crowdPolicy = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: crowd}
spec:
  podSelector: {matchLabels: {app: crowd}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 198.18.0.0/16}}]}]
`

// crowd adds pods that only send, and keeps quiet what else the stage's pods
// would say: each packet of the test is to be one of its own.
func (s *stage) crowd(size int) []*sender {
	s.t.Helper()
	route := &netlink.Route{Dst: &net.IPNet{IP: nowhere.Addr().AsSlice(), Mask: net.CIDRMask(nowhere.Bits(), 32)}, Type: unix.RTN_BLACKHOLE}
	s.must(s.node.Link.RouteReplace(route))
	var senders []*sender
	for i := range size {
		addr := node.Dual(byte(20 + i))[:1]
		name := fmt.Sprintf("crowd%d", i)
		pod, err := s.node.AddPod(name, addr...)
		s.must(err)
		s.pods = append(s.pods, node.Pod{Namespace: "shop", Name: name, Labels: "app: crowd", Addrs: addr})
		tap, err := pod.Tap("eth0")
		s.must(err)
		s.cleanup(tap.Close)
		senders = append(senders, newSender(name, tap, pod.HostMAC, addr[0]))
	}
	for _, pod := range s.node.Pods {
		s.must(pod.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"))
	}
	s.must(s.agent.Replace("manifests/policy.yaml", allowWeb+crowdPolicy))
	s.must(s.agent.Replace("manifests/cluster.yaml", node.Manifest("node-a", []string{"shop"}, s.pods)))
	s.until("the crowd is enforced", func(context.Context) error {
		list, err := s.view.Endpoints()
		if err != nil {
			return err
		}
		enforced := 0
		for _, e := range list {
			if e.GetState() == "enforced" {
				enforced++
			}
		}
		if enforced != len(s.pods) {
			return fmt.Errorf("%d of %d", enforced, len(s.pods))
		}
		return nil
	})
	s.until("the crowd's policy is in force", func(context.Context) error { return senders[0].judged(s) })
	// What comes later is told to who subscribes later.
	s.until("the first packets are told", func(context.Context) error {
		var told uint32
		s.view.Find(0, func(f *weirv1.Flow) bool {
			if f.GetKind() == begun && f.GetSource().GetName() == senders[0].name {
				told++
			}
			return false
		})
		if told != senders[0].flows {
			return fmt.Errorf("%d of %d", told, senders[0].flows)
		}
		return nil
	})
	return senders
}

// sender makes UDP packets each of which is the first of a flow.
type sender struct {
	name  string
	tap   *netns.Tap
	frame []byte
	flows uint32 // made so far
	// at is called in place of an address of a prefix: then it is the source
	// that varies.
	at netip.Addr
}

const (
	frameIP      = 14
	frameUDP     = frameIP + 20
	payload      = 8 // bytes
	packetLength = 20 + 8 + payload
	firstPort    = 1024
	ports        = 1 << 15 // of a source, then the next address is called
)

func newSender(name string, tap *netns.Tap, to net.HardwareAddr, source netip.Addr) *sender {
	f := make([]byte, frameUDP+8+payload)
	copy(f[0:], to)
	copy(f[6:], tap.MAC())
	f[12] = 0x08 // IPv4
	ip := f[frameIP:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], packetLength)
	copy(ip[12:], source.AsSlice())
	udp := f[frameUDP:]
	binary.BigEndian.PutUint16(udp[2:], 9)
	binary.BigEndian.PutUint16(udp[4:], 8+payload) // a checksum of 0 is none
	return &sender{name: name, tap: tap, frame: f}
}

// send the first packet of another flow towards a /16.
func (s *sender) send(to netip.Prefix) error {
	ip, udp := s.frame[frameIP:frameUDP], s.frame[frameUDP:]
	wanders := ip[16:20]
	if s.at.IsValid() {
		wanders = ip[12:16]
		copy(ip[16:], s.at.AsSlice())
	}
	copy(wanders, to.Addr().AsSlice())
	binary.BigEndian.PutUint16(wanders[2:], uint16(1+s.flows/ports))
	binary.BigEndian.PutUint16(udp, uint16(firstPort+s.flows%ports))
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	s.flows++
	return s.tap.Send(s.frame)
}

// checksum of an IPv4 header whose own is 0.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}

// judged: packets of this pod are denied as the policy says.
func (s *sender) judged(on *stage) error {
	if err := s.send(barring); err != nil {
		return err
	}
	n, err := on.view.Denied(s.name, "egress", "no-rule")
	if err == nil && n == 0 {
		err = fmt.Errorf("%d packets of %s passed", s.flows, s.name)
	}
	return err
}

// paced sends so many flows a second, in turn from each sender, and returns
// when all are sent. Behind time it sends faster.
func paced(senders []*sender, to netip.Prefix, rate, flows int) error {
	begun := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < flows; <-tick.C {
		for due := min(flows, int(time.Since(begun).Seconds()*float64(rate))); sent < due; sent++ {
			if err := senders[sent%len(senders)].send(to); err != nil {
				return err
			}
		}
	}
	return nil
}

// flood sends as fast as one thread can, in turn from each sender.
func flood(ctx context.Context, senders []*sender, to netip.Prefix) (flows int, err error) {
	for ctx.Err() == nil {
		for range 64 {
			if err := senders[flows%len(senders)].send(to); err != nil {
				return flows, err
			}
			flows++
		}
	}
	return flows, nil
}

// times sends so many as fast as one thread can.
func times(packets int, senders []*sender, to netip.Prefix) error {
	for i := range packets {
		if err := senders[i%len(senders)].send(to); err != nil {
			return err
		}
	}
	return nil
}
