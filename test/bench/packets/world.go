// SPDX-License-Identifier: Apache-2.0

package packets

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/bench/rig"
	"github.com/weirnet/weir/test/packet"
)

// family is one pod, the subject, and addresses of peers by number.
type family struct {
	subject netip.Addr
	// base is the first peer; the last four bytes of the others count up.
	base netip.Addr
	// Offsets in a frame: the last four bytes of source and destination, and
	// the ports.
	source, destination, ports uint16
}

func families() map[string]family {
	return map[string]family{
		"IPv4": {netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("10.16.0.1"), 26, 30, 34},
		"IPv6": {netip.MustParseAddr("fd00:10:244:1::10"), netip.MustParseAddr("fd00:16::1"), 34, 50, 54},
	}
}

// last is the last four bytes of the first peer.
func (f family) last() uint32 {
	b := f.base.As16()
	return binary.BigEndian.Uint32(b[12:])
}

func (f family) peer(n int) netip.Addr {
	if f.base.Is4() {
		b := f.base.As4()
		binary.BigEndian.PutUint32(b[:], f.last()+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := f.base.As16()
	binary.BigEndian.PutUint32(b[12:], f.last()+uint32(n))
	return netip.AddrFrom16(b)
}

// Ports of the side that does not begin.
const (
	allowedPort = 80
	deniedPort  = 81
)

// frame of the subject's packet to a peer, or of the peer's; it is as long as
// the feeding program wants it.
func (f family) frame(outwards bool, flags packet.TCPFlags, sender, receiver uint16) ([]byte, error) {
	src, dst := netip.AddrPortFrom(f.subject, sender), netip.AddrPortFrom(f.base, receiver)
	if !outwards {
		src, dst = netip.AddrPortFrom(f.base, sender), netip.AddrPortFrom(f.subject, receiver)
	}
	frame, err := packet.TCP(src, dst, flags).Frame()
	if err != nil {
		return nil, err
	}
	return append(frame, make([]byte, max(0, shortestFrame-len(frame)))...), nil
}

// shortestFrame that the feeding program takes.
const shortestFrame = 72

const namespace = "bench"

func subject(f family) *policy.Pod {
	return &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: namespace, Name: "subject"}, UID: "subject", Node: rig.Node,
		Labels: map[string]string{"app": "subject"}, IPs: []netip.Addr{f.subject},
	}
}

// cluster has one row of policy for each class in both directions: that many
// policies, each of which allows TCP 80 to and from the peers with a label of
// its own. There are at least as many peers as targets, in turn of each class.
func cluster(f family, rows, peers int) policy.Batch {
	b := policy.Batch{Synced: true, Namespaces: []policy.Namespace{{Name: namespace}}, Pods: []*policy.Pod{subject(f)}}
	for i := range peers {
		b.Pods = append(b.Pods, &policy.Pod{
			ObjectKey: policy.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("peer-%d", i)}, UID: fmt.Sprint(i), Node: "there",
			Labels: map[string]string{"class": fmt.Sprint(i % rows)}, IPs: []netip.Addr{f.peer(i)},
		})
	}
	for i := range rows {
		rule := []policy.Rule{{
			Peers: []policy.Peer{{Pods: selector("class", fmt.Sprint(i))}},
			Ports: []policy.Port{{Protocol: policy.TCP, First: allowedPort, Last: allowedPort}},
		}}
		b.Policies = append(b.Policies, &policy.Policy{
			ObjectKey: policy.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("class-%d", i)},
			Subjects:  *selector("app", "subject"), Isolates: [2]bool{true, true}, Rules: [2][]policy.Rule{rule, rule},
		})
	}
	return b
}

func selector(key, value string) *policy.Selector {
	return &policy.Selector{Requirements: []policy.Requirement{{Key: key, Operator: policy.In, Values: []string{value}}}}
}
