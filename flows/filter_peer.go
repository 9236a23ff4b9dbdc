// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/weirnet/weir/policy"
)

// PeerSpec is a filter of one end of a flow. Lists that are set must all match;
// a list matches if any of its values does.
type PeerSpec struct {
	Pods       []string // "namespace/name" or "name"
	Namespaces []string // of a pod or Service
	Labels     []string // selectors of pods as kubectl takes them
	IPs        []string // address or CIDR
	Ports      []uint32
	Services   []string // "namespace/name" or "name"
	Workloads  []string // "name", "namespace/name" or "namespace/kind/name"
	Identities []Identity
}

// peerTests must all pass.
type peerTests []func(*Peer) bool

func (t peerTests) matches(p *Peer) bool {
	for _, test := range t {
		if !test(p) {
			return false
		}
	}
	return true
}

func (c *compiler) peer(field string, s PeerSpec) peerTests {
	var out peerTests
	if names := c.objectNames(field+".pods", s.Pods); len(names) > 0 {
		out = append(out, func(p *Peer) bool { return p.Pod != nil && named(names, p.Pod.ObjectKey) })
	}
	if names := c.objectNames(field+".services", s.Services); len(names) > 0 {
		out = append(out, func(p *Peer) bool { return p.Service != nil && named(names, p.Service.ObjectKey) })
	}
	if list := c.namespaces(field, s.Namespaces); len(list) > 0 {
		out = append(out, func(p *Peer) bool {
			key, ok := p.Object()
			return ok && slices.Contains(list, key.Namespace)
		})
	}
	if list := c.selectors(field, s.Labels); len(list) > 0 {
		out = append(out, func(p *Peer) bool {
			return p.Pod != nil && slices.ContainsFunc(list, func(s labels.Selector) bool { return s.Matches(labels.Set(p.Pod.Labels)) })
		})
	}
	if list := c.prefixes(field, s.IPs); len(list) > 0 {
		out = append(out, func(p *Peer) bool {
			return slices.ContainsFunc(list, func(prefix netip.Prefix) bool { return prefix.Contains(p.Addr) })
		})
	}
	if list := c.ports(field, s.Ports); len(list) > 0 {
		out = append(out, func(p *Peer) bool { return slices.Contains(list, p.Port) })
	}
	if list := c.workloads(field, s.Workloads); len(list) > 0 {
		out = append(out, func(p *Peer) bool { return p.Pod != nil && slices.ContainsFunc(list, p.hasWorkload) })
	}
	if list := slices.Clone(s.Identities); len(list) > 0 {
		// An end without an address is nobody, though its zero value is World.
		out = append(out, func(p *Peer) bool { return (p.Addr.IsValid() || p.Pod != nil) && slices.Contains(list, p.Identity) })
	}
	return out
}

// objectName with an empty namespace matches the name in any namespace.
type objectName struct{ namespace, name string }

func (n objectName) matches(key policy.ObjectKey) bool {
	return n.name == key.Name && (n.namespace == "" || n.namespace == key.Namespace)
}

func named(names []objectName, key policy.ObjectKey) bool {
	return slices.ContainsFunc(names, func(n objectName) bool { return n.matches(key) })
}

func (c *compiler) objectNames(field string, texts []string) []objectName {
	var names []objectName
	for i, text := range texts {
		var n objectName
		namespace, name, both := strings.Cut(text, "/")
		if both {
			n = objectName{namespace, name}
		} else {
			n = objectName{name: text}
		}
		if n.name == "" || both && n.namespace == "" || strings.ContainsAny(n.name, "/ ") || strings.Contains(n.namespace, " ") {
			c.bad(field, i, text, `"namespace/name" or "name"`)
			continue
		}
		names = append(names, n)
	}
	return names
}

func (c *compiler) namespaces(field string, names []string) []string {
	for i, n := range names {
		if n == "" || strings.ContainsAny(n, "/ ") {
			c.bad(field+".namespaces", i, n, "the name of a namespace")
		}
	}
	return slices.Clone(names)
}

func (c *compiler) selectors(field string, texts []string) []labels.Selector {
	var out []labels.Selector
	for i, text := range texts {
		s, err := labels.Parse(text)
		if err != nil || s.Empty() {
			c.bad(field+".labels", i, text, `a selector of labels, e.g. "app=web,tier in (a, b)"`)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (c *compiler) prefixes(field string, texts []string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range texts {
		p, ok := parsePrefix(text)
		if !ok {
			c.bad(field+".ips", i, text, "an address or CIDR, e.g. 10.0.0.7, 10.0.0.0/24 or fd00::/64")
			continue
		}
		out = append(out, p)
	}
	return out
}

// parsePrefix takes an address as the prefix of that address alone. Addresses
// of flows are unmapped, so ::ffff:10.0.0.7 is 10.0.0.7 here too; a zone can
// match no flow.
func parsePrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, true // Contains looks at no host bits
}

func (c *compiler) ports(field string, numbers []uint32) []uint16 {
	var out []uint16
	for i, n := range numbers {
		if n > math.MaxUint16 {
			c.errs = append(c.errs, fmt.Errorf("%s.ports[%d]: %d is not a port (0 to 65535)", field, i, n))
		}
		out = append(out, uint16(n))
	}
	return out
}

// workloadName with an empty namespace or kind matches any.
type workloadName struct{ namespace, kind, name string }

func (c *compiler) workloads(field string, texts []string) []workloadName {
	var out []workloadName
	for i, text := range texts {
		parts := strings.Split(text, "/")
		if len(parts) > 3 || slices.Contains(parts, "") || strings.Contains(text, " ") {
			c.bad(field+".workloads", i, text, `"name", "namespace/name" or "namespace/kind/name"`)
			continue
		}
		n := workloadName{name: parts[len(parts)-1]}
		if len(parts) > 1 {
			n.namespace = parts[0]
		}
		if len(parts) > 2 {
			n.kind = parts[1]
		}
		out = append(out, n)
	}
	return out
}

func (p *Peer) hasWorkload(n workloadName) bool {
	w := p.Pod.Workload
	return n.name == w.Name && (n.namespace == "" || n.namespace == p.Pod.Namespace) &&
		(n.kind == "" || strings.EqualFold(n.kind, w.Kind))
}
