// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// String gives "ingress" or "egress".
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// String gives the usual name, else the number: "protocol 47".
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "ICMP"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case ICMPv6:
		return "ICMPv6"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// String gives "namespace/name".
func (k ObjectKey) String() string {
	return k.Namespace + "/" + k.Name
}

// String gives "shop/allow-app ingress rule 0".
func (r RuleRef) String() string {
	return fmt.Sprintf("%s %s rule %d", r.Policy, r.Direction, r.Index)
}

// Problems lists what of the policy's rules could not be used, each with its
// rule: "ingress rule 0: ports[1]: ...".
func (p *Policy) Problems() []string {
	var out []string
	for _, d := range Directions {
		for i, r := range p.Rules[d] {
			for _, problem := range r.Problems {
				out = append(out, fmt.Sprintf("%s rule %d: %s", d, i, problem))
			}
		}
	}
	return out
}

// RuleText is the rule in one line: "pods app=web in the same namespace or
// 10.0.0.0/8 on 80/TCP, dns/UDP". Parts that were unusable are not in it.
func RuleText(r Rule) string {
	peers, ports := "any peer", "any port"
	if !r.AnyPeer {
		peers = joined(len(r.Peers), len(r.Peers), " or ", func(i int) string { return peerText(r.Peers[i]) })
	}
	if !r.AnyPort {
		ports = joined(len(r.Ports), len(r.Ports), ", ", func(i int) string { return portText(r.Ports[i]) })
	}
	if peers == "" {
		peers = "no peer"
	}
	if ports == "" {
		ports = "no port"
	}
	return peers + " on " + ports
}

// SelectorText is the selector as kubectl takes it after --selector:
// "app=web,tier in (a,b),env notin (dev),!old". One that matches everything is
// empty there, and "everything" here.
func SelectorText(s Selector) string {
	if len(s.Requirements) == 0 {
		return "everything"
	}
	return joined(len(s.Requirements), len(s.Requirements), ",", func(i int) string { return s.Requirements[i].text() })
}

func (r Requirement) text() string {
	values := strings.Join(r.Values, ",")
	switch r.Operator {
	case In:
		if len(r.Values) == 1 {
			return r.Key + "=" + values
		}
		return r.Key + " in (" + values + ")"
	case NotIn:
		return r.Key + " notin (" + values + ")"
	case Exists:
		return r.Key
	case DoesNotExist:
		return "!" + r.Key
	}
	return r.Key + " with an unknown operator"
}

func peerText(p Peer) string {
	if p.Block != nil {
		return blockText(p.Block)
	}
	text := "all pods"
	if p.Pods != nil && len(p.Pods.Requirements) > 0 {
		text = "pods " + SelectorText(*p.Pods)
	}
	switch {
	case p.Namespaces == nil:
		return text + " in the same namespace"
	case len(p.Namespaces.Requirements) == 0:
		return text + " in all namespaces"
	}
	return text + " in namespaces " + SelectorText(*p.Namespaces)
}

func blockText(b *Block) string {
	if len(b.Excepts) == 0 {
		return b.Prefix.String()
	}
	excepts := joined(len(b.Excepts), len(b.Excepts), " and ", func(i int) string { return b.Excepts[i].String() })
	return b.Prefix.String() + " except " + excepts
}

// portText is "80/TCP", "8000-8100/TCP", "dns/UDP" or "any SCTP port".
func portText(p Port) string {
	if p.Name == "" && p.First == 0 {
		return "any " + p.Protocol.String() + " port"
	}
	return p.numbers() + "/" + p.Protocol.String()
}

// numbers is what p says beside its protocol.
func (p Port) numbers() string {
	first, last := strconv.Itoa(int(p.First)), strconv.Itoa(int(p.Last))
	switch {
	case p.Name != "":
		return p.Name
	case p.First == p.Last:
		return first
	}
	return first + "-" + last
}

// joined is the first limit of n texts, and how many there are beyond it: a
// rule may hold thousands of blocks, and an event has room for few.
func joined(n, limit int, separator string, text func(int) string) string {
	var out strings.Builder
	for i := range min(n, limit) {
		if i > 0 {
			out.WriteString(separator)
		}
		out.WriteString(text(i))
	}
	if n > limit {
		fmt.Fprintf(&out, "%s%d more", separator, n-limit)
	}
	return out.String()
}
