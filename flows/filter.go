// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/policy"
)

// FilterSpec is a filter as a reader writes it. Lists that are set must all
// match; a list matches if any of its values does. The address of a Service
// before translation counts as a destination.
type FilterSpec struct {
	Pods       []string // "namespace/name" or "name", at either end
	Namespaces []string // of a pod or Service at either end
	IPs        []string // address or CIDR, at either end
	Ports      []uint32 // at either end
	Protocols  []uint32 // IANA numbers; 0: no IP packet (ARP and the like)
	Verdicts   []Verdict
	Policies   []string  // "namespace/name" or "name", deciding or isolating
	Since      time.Time // not before; zero: any time
}

// Filter is a compiled FilterSpec. The nil Filter lets every flow through. It
// is immutable.
type Filter struct {
	pods       []objectName
	namespaces []string
	prefixes   []netip.Prefix
	ports      []uint16
	protocols  []policy.Protocol
	verdicts   []Verdict
	policies   []objectName
	since      time.Time
}

// objectName with an empty namespace matches the name in any namespace.
type objectName struct{ namespace, name string }

func (n objectName) matches(key policy.ObjectKey) bool {
	return n.name == key.Name && (n.namespace == "" || n.namespace == key.Namespace)
}

// Compile returns an error that names each field with a value that cannot
// match anything, and what is accepted there. A spec without any value gives
// the nil Filter.
func Compile(spec FilterSpec) (*Filter, error) {
	f := &Filter{since: spec.Since}
	var errs []error
	bad := func(field string, i int, value any, accepted string) {
		errs = append(errs, fmt.Errorf("filter.%s[%d]: %#v is not %s", field, i, value, accepted))
	}
	f.pods = objectNames(spec.Pods, "pods", bad)
	f.policies = objectNames(spec.Policies, "policies", bad)
	for i, n := range spec.Namespaces {
		if n == "" || strings.ContainsAny(n, "/ ") {
			bad("namespaces", i, n, "the name of a namespace")
			continue
		}
		f.namespaces = append(f.namespaces, n)
	}
	for i, text := range spec.IPs {
		p, ok := parsePrefix(text)
		if !ok {
			bad("ips", i, text, "an address or CIDR, e.g. 10.0.0.7, 10.0.0.0/24 or fd00::/64")
			continue
		}
		f.prefixes = append(f.prefixes, p)
	}
	for i, n := range spec.Ports {
		if n > math.MaxUint16 {
			errs = append(errs, fmt.Errorf("filter.ports[%d]: %d is not a port (0 to 65535)", i, n))
		}
		f.ports = append(f.ports, uint16(n))
	}
	for i, n := range spec.Protocols {
		if n > math.MaxUint8 {
			errs = append(errs, fmt.Errorf("filter.protocols[%d]: %d is not an IANA protocol number (0 to 255, e.g. 6 for TCP)", i, n))
		}
		f.protocols = append(f.protocols, policy.Protocol(n))
	}
	for i, v := range spec.Verdicts {
		if v > Audited {
			errs = append(errs, fmt.Errorf("filter.verdicts[%d]: %d is not a verdict (denied, allowed or audited)", i, v))
		}
		f.verdicts = append(f.verdicts, v)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if f.empty() {
		return nil, nil
	}
	return f, nil
}

func (f *Filter) empty() bool {
	return len(f.pods)+len(f.namespaces)+len(f.prefixes)+len(f.ports)+len(f.protocols)+
		len(f.verdicts)+len(f.policies) == 0 && f.since.IsZero()
}

func objectNames(texts []string, field string, bad func(string, int, any, string)) []objectName {
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
			bad(field, i, text, `"namespace/name" or "name"`)
			continue
		}
		names = append(names, n)
	}
	return names
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

// Matches reports whether a flow passes the filter.
func (f *Filter) Matches(flow *Flow) bool {
	if f == nil {
		return true
	}
	return (f.since.IsZero() || !flow.Time.Before(f.since)) &&
		(len(f.verdicts) == 0 || slices.Contains(f.verdicts, flow.Verdict)) &&
		(len(f.protocols) == 0 || slices.Contains(f.protocols, flow.Protocol)) &&
		(len(f.ports) == 0 || eitherEnd(flow, f.port)) &&
		(len(f.prefixes) == 0 || eitherEnd(flow, f.address)) &&
		(len(f.namespaces) == 0 || eitherEnd(flow, f.namespace)) &&
		(len(f.pods) == 0 || eitherEnd(flow, f.pod)) &&
		(len(f.policies) == 0 || f.policy(flow))
}

func eitherEnd(flow *Flow, matches func(*Peer) bool) bool {
	return matches(&flow.Source) || matches(&flow.Destination) ||
		flow.Service != nil && matches(flow.Service)
}

func (f *Filter) port(p *Peer) bool { return slices.Contains(f.ports, p.Port) }

func (f *Filter) address(p *Peer) bool {
	for _, prefix := range f.prefixes {
		if prefix.Contains(p.Addr) {
			return true
		}
	}
	return false
}

func (f *Filter) namespace(p *Peer) bool {
	key, ok := p.Object()
	return ok && slices.Contains(f.namespaces, key.Namespace)
}

func (f *Filter) pod(p *Peer) bool {
	if p.Pod == nil {
		return false
	}
	for _, n := range f.pods {
		if n.matches(p.Pod.ObjectKey) {
			return true
		}
	}
	return false
}

func (f *Filter) policy(flow *Flow) bool {
	for _, n := range f.policies {
		if flow.Rule != nil && n.matches(flow.Rule.Policy) || slices.ContainsFunc(flow.Isolating, n.matches) {
			return true
		}
	}
	return false
}
