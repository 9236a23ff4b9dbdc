// SPDX-License-Identifier: Apache-2.0

package policy

import "net/netip"

// Direction is seen from the pod that a policy selects. The numbers are those
// of enum direction in bpf/src/types.h.
type Direction uint8

const (
	Ingress Direction = 0
	Egress  Direction = 1
)

// Directions lists both, for ranging.
var Directions = [2]Direction{Ingress, Egress}

// Protocol is an IANA protocol number. 0 stands for no protocol that weir
// knows: a Port with it matches nothing.
type Protocol uint8

const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

// ObjectKey names a namespaced object.
type ObjectKey struct {
	Namespace string
	Name      string
}

// Namespace is a namespace that is known; a pod or policy may name one that is
// not (its labels are then unknown, and no namespace selector matches it).
type Namespace struct {
	Name   string
	Labels map[string]string
}

// NamedPort is a container port with a name. Sidecars' ports are among a pod's
// named ports, those of plain init containers are not.
type NamedPort struct {
	Name     string
	Protocol Protocol
	Number   uint16
}

// Pod is a pod with at least its name. It is treated as immutable once handed
// on; so are all types of this file.
type Pod struct {
	ObjectKey
	UID         string // as the container runtime knows it: not the mirror's of a static pod
	Labels      map[string]string
	Node        string       // spec.nodeName; empty until scheduled
	IPs         []netip.Addr // status.podIPs, unmapped; empty: nobody's peer
	HostNetwork bool         // neither selected nor matched by pod selectors
	Terminal    bool         // Succeeded or Failed: matches nothing
	Ports       []NamedPort
	HostPorts   []PortNumber // ports of the node that lead to this pod
	Workload    Workload     // its controller, for display only
}

// PortNumber is a number of one protocol.
type PortNumber struct {
	Protocol Protocol
	Number   uint16
}

// Workload is the controller of a pod, e.g. Deployment web.
type Workload struct {
	Kind string
	Name string
}

// Service carries what weir needs of a Service and its EndpointSlices: the
// addresses that the node translates, and the names for output.
type Service struct {
	ObjectKey
	IPs   []netip.Addr // cluster, external and load balancer addresses, not "None"
	Ports []ServicePort
}

// ServicePort is one port of a Service with its backends.
type ServicePort struct {
	Name     string
	Protocol Protocol
	Number   uint16
	NodePort uint16 // 0: none
	Backends []netip.AddrPort
}

// Policy is one NetworkPolicy.
type Policy struct {
	ObjectKey
	UID string
	// Generation is metadata.generation: it grows with each change of the spec.
	Generation int64
	// Subjects selects pods of the policy's own namespace.
	Subjects Selector
	// Isolates says in which directions the subjects are isolated; the rules
	// of a direction that is not isolated are absent.
	Isolates [2]bool
	Rules    [2][]Rule
}

// Rule is one ingress or egress rule; its index in Policy.Rules is that in the
// object. The zero Rule allows nothing.
type Rule struct {
	// AnyPeer: no from or to, so every peer, off-cluster too. Peers is then empty.
	AnyPeer bool
	Peers   []Peer
	// AnyPort: no ports, so every protocol and port, ICMP too. Ports is then empty.
	AnyPort bool
	Ports   []Port
	// Problems say why parts of the rule, or all of it, were unusable; those
	// parts are absent above and allow nothing.
	Problems []string
}

// Peer is a pair of selectors or a block. The zero Peer matches nothing.
type Peer struct {
	// Pods and Namespaces: both nil for a block. Namespaces nil with Pods
	// set: the policy's own namespace. Pods nil with Namespaces set: every
	// pod of those namespaces.
	Pods       *Selector
	Namespaces *Selector
	Block      *Block
}

// Block is an ipBlock. Prefix and Excepts are masked; each except lies within
// Prefix.
type Block struct {
	Prefix  netip.Prefix
	Excepts []netip.Prefix
}

// Port is one entry of a rule's ports. The zero Port matches nothing.
type Port struct {
	Protocol Protocol
	// Name: a named port of the destination pod. First and Last are then 0.
	Name string
	// First and Last are inclusive. The whole protocol is 0 to 65535; a port
	// number or range begins at 1 or above, so a packet with port 0 matches
	// only the former.
	First, Last uint16
}

// Operator of a Requirement. The zero Operator matches nothing.
type Operator uint8

const (
	In Operator = iota + 1
	NotIn
	Exists
	DoesNotExist
)

// Requirement is one term of a Selector. A matchLabels entry is In with one value.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Selector matches labels that meet all requirements; without any it matches
// everything.
type Selector struct {
	Requirements []Requirement
}

// Matches reports whether labels meet every requirement. NotIn and
// DoesNotExist are met by labels without the key.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s.Requirements {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

func (r Requirement) matches(labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case In:
		return has && r.names(value)
	case NotIn:
		return !has || !r.names(value)
	case Exists:
		return has
	case DoesNotExist:
		return !has
	}
	return false
}

func (r Requirement) names(value string) bool {
	for _, v := range r.Values {
		if v == value {
			return true
		}
	}
	return false
}

// RuleRef names a rule of a policy.
type RuleRef struct {
	Policy    ObjectKey
	Direction Direction
	Index     int
}

// Batch is a set of changes that arrived together and are applied together:
// no packet sees some of them and not the others. An object stands in it at
// most once, as written or as deleted.
type Batch struct {
	Namespaces        []Namespace
	DeletedNamespaces []string
	Pods              []*Pod
	DeletedPods       []ObjectKey
	Policies          []*Policy
	DeletedPolicies   []ObjectKey
	Services          []*Service
	DeletedServices   []ObjectKey
	// Synced is set once the first full list of every kind is in this batch
	// or an earlier one. Nothing is enforced before.
	Synced bool
}
