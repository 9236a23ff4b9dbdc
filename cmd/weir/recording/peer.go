// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	pb "github.com/weirnet/weir/api/v1"
)

// peer returns tests that must all pass at one end.
func (c *compiler) peer(field string, s *pb.PeerFilter) []func(*pb.Peer) bool {
	var out []func(*pb.Peer) bool
	add := func(asked int, test func(*pb.Peer) bool) {
		if asked > 0 {
			out = append(out, test)
		}
	}
	pods := c.names(field+".pods", s.GetPods())
	add(len(pods), func(p *pb.Peer) bool { return isPod(p) && named(pods, p.GetNamespace(), p.GetName()) })
	services := c.names(field+".services", s.GetServices())
	add(len(services), func(p *pb.Peer) bool { return isService(p) && named(services, p.GetNamespace(), p.GetName()) })
	namespaces := s.GetNamespaces()
	add(len(namespaces), func(p *pb.Peer) bool {
		return (isPod(p) || isService(p)) && slices.Contains(namespaces, p.GetNamespace())
	})
	selectors := c.selectors(field+".labels", s.GetLabels())
	add(len(selectors), func(p *pb.Peer) bool {
		return isPod(p) && slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(p.GetLabels())) })
	})
	prefixes := c.prefixes(field+".ips", s.GetIps())
	add(len(prefixes), func(p *pb.Peer) bool {
		addr, err := netip.ParseAddr(p.GetIp())
		return err == nil && slices.ContainsFunc(prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
	})
	ports := s.GetPorts()
	add(len(ports), func(p *pb.Peer) bool { return slices.Contains(ports, p.GetPort()) })
	workloads := s.GetWorkloads()
	add(len(workloads), func(p *pb.Peer) bool {
		return p.GetWorkload() != nil && slices.ContainsFunc(workloads, func(text string) bool { return hasWorkload(p, text) })
	})
	identities := s.GetIdentities()
	add(len(identities), func(p *pb.Peer) bool { return slices.Contains(identities, p.GetIdentity()) })
	return out
}

// A pod or Service that was deleted before its flow was told has an identity
// and no name.
func isPod(p *pb.Peer) bool { return p.GetIdentity() == pb.Identity_IDENTITY_POD && p.GetName() != "" }

func isService(p *pb.Peer) bool {
	return p.GetIdentity() == pb.Identity_IDENTITY_SERVICE && p.GetName() != ""
}

// objectName with an empty namespace matches the name in any namespace.
type objectName struct{ namespace, name string }

func named(names []objectName, namespace, name string) bool {
	return slices.ContainsFunc(names, func(n objectName) bool {
		return n.name == name && (n.namespace == "" || n.namespace == namespace)
	})
}

func (c *compiler) names(field string, texts []string) []objectName {
	var names []objectName
	for _, text := range texts {
		namespace, name, both := strings.Cut(text, "/")
		if !both {
			namespace, name = "", text
		}
		if name == "" || both && namespace == "" || strings.Contains(name, "/") {
			c.bad(field, text, `"namespace/name" or "name"`)
			continue
		}
		names = append(names, objectName{namespace, name})
	}
	return names
}

func (c *compiler) selectors(field string, texts []string) []labels.Selector {
	var list []labels.Selector
	for _, text := range texts {
		s, err := labels.Parse(text)
		if err != nil {
			c.bad(field, text, `a selector of labels, e.g. "app=web,tier in (a, b)"`)
			continue
		}
		list = append(list, s)
	}
	return list
}

func (c *compiler) prefixes(field string, texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			c.bad(field, text, "an address or CIDR, e.g. 10.0.0.7 or fd00::/64")
			continue
		}
		list = append(list, p)
	}
	return list
}

// hasWorkload reads "name", "namespace/name" or "namespace/kind/name".
func hasWorkload(p *pb.Peer, text string) bool {
	parts := strings.Split(text, "/")
	w := p.GetWorkload()
	switch len(parts) {
	case 1:
		return parts[0] == w.GetName()
	case 2:
		return parts[0] == p.GetNamespace() && parts[1] == w.GetName()
	}
	return parts[0] == p.GetNamespace() && strings.EqualFold(parts[1], w.GetKind()) && parts[2] == w.GetName()
}
