// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weirnet/weir/policy"
)

// chance makes random objects of a universe so small that they meet.
type chance struct{ *rand.Rand }

var (
	universeAddrs = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "10.1.0.1", "192.0.2.7", "2001:db8::1", "2001:db8::2", "2001:db9::1", "fe80::1"}
	universeCIDRs = []string{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.2/32", "10.0.1.0/24", "192.0.2.0/24",
		"::/0", "2001:db8::/32", "2001:db8::1/128", "fe80::/10", "fe80::/64", "fe80::/9", "::ffff:10.0.0.0/104"}
	universePorts = []uint16{0, 1, 79, 80, 81, 443, 8080, 65535}
)

func pick[T any](c chance, from []T) T { return from[c.IntN(len(from))] }

func (c chance) often() bool { return c.IntN(3) > 0 }

func (c chance) rarely() bool { return c.IntN(8) == 0 }

func (c chance) namespaceName() string { return pick(c, []string{"a", "b", "c"}) }

func (c chance) labels() map[string]string {
	labels := map[string]string{}
	for _, key := range []string{"app", "tier", "env"} {
		if c.often() {
			labels[key] = pick(c, []string{"x", "y", "z"})
		}
	}
	return labels
}

func (c chance) selector() policy.Selector {
	var s policy.Selector
	for range c.IntN(3) {
		r := policy.Requirement{Key: pick(c, []string{"app", "tier", "env"}), Operator: policy.Operator(1 + c.IntN(4))}
		if r.Operator == policy.In || r.Operator == policy.NotIn {
			for range 1 + c.IntN(2) {
				r.Values = append(r.Values, pick(c, []string{"x", "y", "z"}))
			}
		}
		s.Requirements = append(s.Requirements, r)
	}
	return s
}

func (c chance) podName() string { return fmt.Sprintf("p%d", c.IntN(4)) }

func (c chance) pod() *policy.Pod {
	p := &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: c.namespaceName(), Name: c.podName()}, UID: fmt.Sprint(c.IntN(2)),
		Labels: c.labels(), Node: pick(c, []string{thisNode, thisNode, "there"}), HostNetwork: c.rarely(), Terminal: c.rarely(),
	}
	for range c.IntN(3) {
		p.IPs = append(p.IPs, netip.MustParseAddr(pick(c, universeAddrs)))
	}
	for range c.IntN(3) {
		p.Ports = append(p.Ports, policy.NamedPort{Name: c.portName(), Protocol: c.protocol(), Number: pick(c, universePorts[1:])})
	}
	return p
}

func (c chance) portName() string { return pick(c, []string{"web", "dns"}) }

func (c chance) protocol() policy.Protocol {
	return pick(c, []policy.Protocol{policy.TCP, policy.TCP, policy.UDP, policy.SCTP})
}

func (c chance) policyName() string { return fmt.Sprintf("n%d", c.IntN(4)) }

func (c chance) policy() *policy.Policy {
	p := &policy.Policy{
		ObjectKey: policy.ObjectKey{Namespace: c.namespaceName(), Name: c.policyName()},
		Subjects:  c.selector(), Isolates: [2]bool{c.often(), c.often()},
	}
	for _, dir := range policy.Directions {
		for range c.IntN(4) {
			if p.Isolates[dir] {
				p.Rules[dir] = append(p.Rules[dir], c.rule())
			}
		}
	}
	return p
}

func (c chance) rule() policy.Rule {
	r := policy.Rule{AnyPeer: c.rarely(), AnyPort: c.rarely()}
	for range c.IntN(3) {
		if !r.AnyPeer {
			r.Peers = append(r.Peers, c.peer())
		}
	}
	for range c.IntN(4) {
		if !r.AnyPort {
			r.Ports = append(r.Ports, c.port())
		}
	}
	return r
}

func (c chance) peer() policy.Peer {
	var p policy.Peer
	switch c.IntN(8) {
	case 0, 1, 2:
		p.Block = c.block()
	case 3:
		return p // no field at all
	case 4:
		p.Block = c.block()
		fallthrough // together with selectors: invalid
	default:
		if c.often() {
			p.Pods = new(c.selector())
		}
		if p.Pods == nil || c.often() {
			p.Namespaces = new(c.selector())
		}
	}
	return p
}

func (c chance) block() *policy.Block {
	b := &policy.Block{Prefix: netip.MustParsePrefix(pick(c, universeCIDRs))}
	for range c.IntN(3) {
		x := netip.MustParsePrefix(pick(c, universeCIDRs))
		if x.Bits() >= b.Prefix.Bits() && b.Prefix.Contains(x.Addr()) {
			b.Excepts = append(b.Excepts, x)
		}
	}
	return b
}

func (c chance) port() policy.Port {
	p := policy.Port{Protocol: c.protocol()}
	if c.rarely() {
		p.Protocol = pick(c, []policy.Protocol{0, policy.ICMP}) // without ports: matches nothing
	}
	switch c.IntN(4) {
	case 0:
		p.Last = 65535
	case 1:
		p.Name = c.portName()
	default:
		p.First = pick(c, universePorts[1:])
		p.Last = max(p.First, pick(c, universePorts))
	}
	return p
}

func (c chance) service() *policy.Service {
	s := &policy.Service{ObjectKey: policy.ObjectKey{Namespace: c.namespaceName(), Name: "s"}}
	for range c.IntN(3) {
		s.IPs = append(s.IPs, netip.MustParseAddr(pick(c, universeAddrs)))
	}
	return s
}

// event is a batch with one change.
func (c chance) event() policy.Batch {
	var b policy.Batch
	gone := c.IntN(4) == 0
	key := policy.ObjectKey{Namespace: c.namespaceName()}
	switch c.IntN(8) {
	case 0:
		if gone {
			b.DeletedNamespaces = []string{key.Namespace}
		} else {
			b.Namespaces = []policy.Namespace{{Name: key.Namespace, Labels: c.labels()}}
		}
	case 1:
		if key.Name = "s"; gone {
			b.DeletedServices = []policy.ObjectKey{key}
		} else {
			b.Services = []*policy.Service{c.service()}
		}
	case 2, 3, 4:
		if key.Name = c.policyName(); gone {
			b.DeletedPolicies = []policy.ObjectKey{key}
		} else {
			b.Policies = []*policy.Policy{c.policy()}
		}
	default:
		if key.Name = c.podName(); gone {
			b.DeletedPods = []policy.ObjectKey{key}
		} else {
			b.Pods = []*policy.Pod{c.pod()}
		}
	}
	return b
}

func allPackets() []packet {
	var packets []packet
	for _, addr := range universeAddrs {
		for _, dir := range policy.Directions {
			for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
				for _, port := range universePorts {
					packets = append(packets, packet{dir, netip.MustParseAddr(addr), protocol, port})
				}
			}
			packets = append(packets, packet{dir, netip.MustParseAddr(addr), policy.ICMP, 0}, packet{dir, netip.MustParseAddr(addr), 47, 0})
		}
	}
	return packets
}
