// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// Cluster is all that the oracle looks at.
type Cluster struct {
	Namespaces map[string]Namespace
	Pods       []*Pod
	Policies   []*Policy
}

// Flow is what begins at one end and arrives at the other, judged at Subject
// in one direction.
type Flow struct {
	Direction Direction
	Subject   *Pod
	Peer      netip.Addr // the other end, as its address on the wire
	Protocol  Protocol
	Port      uint16 // destination port; ignored for protocols without ports
	// OwnNode: the peer is the node that Subject runs on.
	OwnNode bool
}

// Cause says which kind of decision was taken.
type Cause uint8

const (
	NoRule      Cause = iota // isolated, and no rule allows it
	ByRule                   // Decision.Rule allows it
	NotIsolated              // no policy selects Subject in this direction
	NodeTraffic              // to or from the pod's own node
	Itself                   // the pod reaches itself
)

// Decision is the oracle's answer. The zero value denies.
type Decision struct {
	Allowed bool
	Cause   Cause
	// Rule decided, if Cause is ByRule: the first by policy namespace, policy
	// name, rule index. Others allow it too.
	Rule   RuleRef
	Others []RuleRef
	// Isolating are the policies that isolate Subject in this direction,
	// sorted by namespace and name.
	Isolating []ObjectKey
}

// Evaluate judges one flow by reading every policy and every rule; it is the
// specification that everything faster is compared with. Both ends must allow
// a connection: this is the answer of one of them.
//
// What the API leaves open is decided so:
//   - Who is the peer is told by its address alone. An address held by several
//     live pods, as for a moment when it passes from one to the next, satisfies
//     selectors only if every one of them does, and a named port has only the
//     numbers that all of them give it. So nobody gains by the transition.
//   - A named port towards an ipBlock, or towards any peer, means the pods
//     that carry the name, those inside the block, and nothing off-cluster.
//   - Protocols other than TCP, UDP and SCTP have no ports: only a rule
//     without ports allows them.
//   - fe80::/10 is the same set of addresses on every link, so ::/0 does not
//     speak of it, nor does any pod selector: only an ipBlock inside it, or a
//     rule for any peer.
//
// A flow without a subject or with an unknown direction is denied.
func (c *Cluster) Evaluate(f Flow) Decision {
	if f.Subject == nil || int(f.Direction) >= len(Directions) {
		return Decision{}
	}
	if f.OwnNode {
		return Decision{Allowed: true, Cause: NodeTraffic}
	}
	if slices.Contains(f.Subject.IPs, wire(f.Peer)) {
		return Decision{Allowed: true, Cause: Itself}
	}
	var d Decision
	var allowing []RuleRef
	s := newScene(f, c.Pods, c.namespace)
	for _, p := range c.Policies {
		if !p.isolates(f.Subject, f.Direction) {
			continue
		}
		d.Isolating = append(d.Isolating, p.ObjectKey)
		for i, r := range p.Rules[f.Direction] {
			if s.allows(p, r) {
				allowing = append(allowing, RuleRef{Policy: p.ObjectKey, Direction: f.Direction, Index: i})
			}
		}
	}
	slices.SortFunc(d.Isolating, ObjectKey.Compare)
	slices.SortFunc(allowing, RuleRef.Compare)
	if len(d.Isolating) == 0 {
		d.Allowed, d.Cause = true, NotIsolated
	}
	if len(allowing) > 0 {
		d.Allowed, d.Cause = true, ByRule
		d.Rule, d.Others = allowing[0], allowing[1:]
	}
	return d
}

func (c *Cluster) namespace(name string) (Namespace, bool) {
	n, ok := c.Namespaces[name]
	return n, ok
}

// live: hostNetwork pods share their node's address, and pods that have ended
// may have lost theirs to another pod. Neither is selected, and neither is
// anybody's peer.
func (p *Pod) live() bool {
	return !p.HostNetwork && !p.Terminal
}

// isolates reports whether p applies to subject in direction d. The namespace
// is compared by name: it need not be known.
func (p *Policy) isolates(subject *Pod, d Direction) bool {
	return p.Isolates[d] && subject.live() &&
		p.Namespace == subject.Namespace && p.Subjects.Matches(subject.Labels)
}

// scene is one flow with what its peer's address stands for.
type scene struct {
	flow      Flow
	peer      netip.Addr
	holders   []*Pod // live pods that have the peer's address
	namespace func(string) (Namespace, bool)
}

func newScene(f Flow, pods []*Pod, namespace func(string) (Namespace, bool)) scene {
	s := scene{flow: f, peer: wire(f.Peer), namespace: namespace}
	if isLinkLocal(s.peer) {
		return s
	}
	for _, p := range pods {
		if p.live() && slices.Contains(p.IPs, s.peer) {
			s.holders = append(s.holders, p)
		}
	}
	return s
}

// wire is the address without what a packet does not carry: the zone, and the
// spelling of IPv4 as IPv6.
func wire(a netip.Addr) netip.Addr {
	return a.Unmap().WithZone("")
}

func (s scene) allows(p *Policy, r Rule) bool {
	return s.peerAllowed(p, r) && s.portAllowed(r)
}

func (s scene) peerAllowed(p *Policy, r Rule) bool {
	if r.AnyPeer {
		return true
	}
	return slices.ContainsFunc(r.Peers, func(peer Peer) bool { return s.isPeer(p.Namespace, peer) })
}

// isPeer reports whether the flow's other end is peer, where home is the
// namespace of the policy. A peer with a block and a selector is invalid, as is
// one with neither.
func (s scene) isPeer(home string, peer Peer) bool {
	selects := peer.Pods != nil || peer.Namespaces != nil
	if peer.Block != nil {
		return !selects && peer.Block.covers(s.peer)
	}
	if !selects || len(s.holders) == 0 {
		return false
	}
	for _, pod := range s.holders {
		if !s.selected(home, peer, pod) {
			return false
		}
	}
	return true
}

func (s scene) selected(home string, peer Peer, pod *Pod) bool {
	if peer.Pods != nil && !peer.Pods.Matches(pod.Labels) {
		return false
	}
	if peer.Namespaces == nil {
		return pod.Namespace == home
	}
	namespace, known := s.namespace(pod.Namespace)
	return known && peer.Namespaces.Matches(namespace.Labels)
}

// linkLocalBits is the length of fe80::/10.
const linkLocalBits = 10

func isLinkLocal(addr netip.Addr) bool {
	return addr.Is6() && addr.IsLinkLocalUnicast()
}

// covers reports whether addr is in the block and in none of its excepts. IPv4
// and IPv6 never mix: netip does not hold an IPv4 address to be in an IPv6
// prefix.
func (b *Block) covers(addr netip.Addr) bool {
	if !b.Prefix.Contains(addr) {
		return false
	}
	if isLinkLocal(addr) && b.Prefix.Bits() < linkLocalBits {
		return false
	}
	return !slices.ContainsFunc(b.Excepts, func(e netip.Prefix) bool { return e.Contains(addr) })
}

func (s scene) portAllowed(r Rule) bool {
	if r.AnyPort {
		return true
	}
	return slices.ContainsFunc(r.Ports, s.isPort)
}

// isPort reports whether the flow goes to p.
func (s scene) isPort(p Port) bool {
	if !s.flow.Protocol.hasPorts() || p.Protocol != s.flow.Protocol {
		return false
	}
	if p.Name != "" {
		return s.isNamedPort(p.Name)
	}
	if p.First == 0 && p.Last == math.MaxUint16 {
		return true
	}
	return p.First != 0 && p.First <= s.flow.Port && s.flow.Port <= p.Last
}

// isNamedPort resolves the name on the destination: the subject itself at
// ingress, the peer at egress.
func (s scene) isNamedPort(name string) bool {
	destinations := s.destinations()
	if len(destinations) == 0 || s.flow.Port == 0 {
		return false
	}
	want := NamedPort{Name: name, Protocol: s.flow.Protocol, Number: s.flow.Port}
	for _, pod := range destinations {
		if !slices.Contains(pod.Ports, want) {
			return false
		}
	}
	return true
}

func (s scene) destinations() []*Pod {
	if s.flow.Direction == Ingress {
		return []*Pod{s.flow.Subject}
	}
	return s.holders
}

func (p Protocol) hasPorts() bool {
	return p == TCP || p == UDP || p == SCTP
}

// Compare orders keys by namespace, then name.
func (k ObjectKey) Compare(other ObjectKey) int {
	return cmp.Or(cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Name, other.Name))
}

// Compare orders rules by policy, direction and index. The first of those that
// allow a flow is the one that is shown to decide.
func (r RuleRef) Compare(other RuleRef) int {
	return cmp.Or(r.Policy.Compare(other.Policy), cmp.Compare(r.Direction, other.Direction), cmp.Compare(r.Index, other.Index))
}
