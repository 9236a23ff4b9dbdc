// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/weirnet/weir/policy"
)

// profile is what a selector can see of a pod: its namespace, labels and named
// ports. Pods alike in these share one, and are matched once.
type profile struct {
	key    string
	ns     *namespace
	labels map[string]string
	ports  []policy.NamedPort // sorted and distinct
	terms  []TermID           // sorted; of selectors and names, not of blocks
	pods   []*pod
	stale  bool
}

func (e *Engine) joinProfile(p *pod) {
	ns := e.namespace(p.object.Namespace)
	ports := sortedPorts(p.object.Ports)
	key := profileKey(p.object.Labels, ports)
	pr := ns.profiles[key]
	if pr == nil {
		pr = &profile{key: key, ns: ns, labels: p.object.Labels, ports: ports}
		if ns.profiles == nil {
			ns.profiles = map[string]*profile{}
		}
		ns.profiles[key] = pr
		e.markProfile(pr)
	}
	p.profile, p.slot = pr, len(pr.pods)
	pr.pods = append(pr.pods, p)
}

func (e *Engine) leaveProfile(p *pod) {
	pr := p.profile
	last := len(pr.pods) - 1
	moved := pr.pods[last]
	pr.pods[p.slot], moved.slot = moved, p.slot
	pr.pods[last] = nil
	pr.pods = pr.pods[:last]
	if last == 0 {
		delete(pr.ns.profiles, pr.key)
		e.forgetNamespace(pr.ns)
	}
}

func (e *Engine) markProfile(pr *profile) {
	if !pr.stale {
		pr.stale = true
		e.staleProfiles = append(e.staleProfiles, pr)
	}
}

func (e *Engine) markAddressesOf(pr *profile) {
	for _, p := range pr.pods {
		for _, a := range p.addresses {
			e.markAddress(a)
		}
	}
}

// settleProfiles gives every profile the terms that it satisfies now. It
// returns the blocks that newly ask for a named port, or no longer do: no
// profile knows who is inside them.
func (e *Engine) settleProfiles() (renamed []*term) {
	changed, renamed := e.terms.takeChanged()
	changed.visit(e.namespaces, func(pr *profile, terms []*term) {
		e.markAddressesOf(pr)
		for _, t := range terms {
			pr.setTerm(t.id, t.refs > 0)
		}
	})
	for _, pr := range e.staleProfiles {
		pr.stale = false
		if len(pr.pods) > 0 {
			pr.terms = e.terms.index.satisfied(pr)
			e.markAddressesOf(pr)
		}
	}
	e.staleProfiles = nil
	return renamed
}

func (pr *profile) setTerm(id TermID, live bool) {
	i, has := slices.BinarySearch(pr.terms, id)
	switch {
	case live && !has:
		pr.terms = slices.Insert(pr.terms, i, id)
	case !live && has:
		pr.terms = slices.Delete(pr.terms, i, i+1)
	}
}

// portName is what a rule asks of a pod's ports.
type portName struct {
	name     string
	protocol policy.Protocol
}

// sortedPorts drops what no rule can name.
func sortedPorts(ports []policy.NamedPort) []policy.NamedPort {
	var sorted []policy.NamedPort
	for _, p := range ports {
		if p.Name != "" && p.Protocol != 0 && p.Number != 0 {
			sorted = append(sorted, p)
		}
	}
	slices.SortFunc(sorted, comparePorts)
	return slices.Compact(sorted)
}

func comparePorts(a, b policy.NamedPort) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
}

// profileKey has a length before each string and list, so that no label can
// look like two.
func profileKey(labels map[string]string, ports []policy.NamedPort) string {
	names := make([]string, 0, 16)
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	buf := binary.AppendUvarint(make([]byte, 0, 256), uint64(len(names)))
	for _, name := range names {
		buf = appendString(buf, name)
		buf = appendString(buf, labels[name])
	}
	return string(appendPorts(buf, ports))
}

func appendPorts(buf []byte, ports []policy.NamedPort) []byte {
	for _, p := range ports {
		buf = appendString(buf, p.Name)
		buf = append(buf, byte(p.Protocol))
		buf = binary.BigEndian.AppendUint16(buf, p.Number)
	}
	return buf
}

func appendString(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}
