// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// whyLimit is how many peers or ports of one rule are named in a reason.
const whyLimit = 3

// whyNotPeer tells why no peer of r is the flow's.
func (s scene) whyNotPeer(p *Policy, r Rule) string {
	if len(r.Peers) == 0 {
		return unusable("peer", r)
	}
	return joined(len(r.Peers), whyLimit, ", ", func(i int) string { return s.whyNot(p.Namespace, r.Peers[i]) })
}

// unusable is the reason of a rule that names peers or ports none of which
// could be used.
func unusable(what string, r Rule) string {
	if len(r.Problems) == 0 {
		return "the rule has no usable " + what
	}
	return fmt.Sprintf("the rule has no usable %s: %s", what, r.Problems[0])
}

func (s scene) whyNot(home string, peer Peer) string {
	selects := peer.Pods != nil || peer.Namespaces != nil
	switch {
	case selects == (peer.Block != nil):
		return "the peer has to be either selectors or an ipBlock"
	case peer.Block != nil:
		return s.whyNotInBlock(peer.Block)
	case len(s.holders) == 0:
		return fmt.Sprintf("%s is not a pod's address (wanted: %s)", s.peer, peerText(peer))
	}
	for _, pod := range s.holders {
		if !s.selected(home, peer, pod) {
			return s.whyNotPod(home, peer, pod)
		}
	}
	return ""
}

func (s scene) whyNotInBlock(b *Block) string {
	for _, e := range b.Excepts {
		if e.Contains(s.peer) {
			return fmt.Sprintf("%s is excepted from %s by %s", s.peer, b.Prefix, e)
		}
	}
	if b.Prefix.Contains(s.peer) {
		return fmt.Sprintf("%s is link-local, and %s does not speak of such addresses", s.peer, b.Prefix)
	}
	return fmt.Sprintf("%s is not in %s", s.peer, b.Prefix)
}

func (s scene) whyNotPod(home string, peer Peer, pod *Pod) string {
	name := "peer " + pod.ObjectKey.String()
	if len(s.holders) > 1 {
		name = fmt.Sprintf("%s, one of %d pods with %s,", name, len(s.holders), s.peer)
	}
	var faults []string
	if peer.Pods != nil && !peer.Pods.Matches(pod.Labels) {
		faults = append(faults, "is not "+SelectorText(*peer.Pods))
	}
	if fault := s.whyNotNamespace(home, peer, pod); fault != "" {
		faults = append(faults, fault)
	}
	return name + " " + strings.Join(faults, " and ")
}

func (s scene) whyNotNamespace(home string, peer Peer, pod *Pod) string {
	if peer.Namespaces == nil {
		if pod.Namespace == home {
			return ""
		}
		return "is not in namespace " + home
	}
	namespace, known := s.namespace(pod.Namespace)
	switch {
	case !known:
		return "is in a namespace whose labels are not known yet"
	case peer.Namespaces.Matches(namespace.Labels):
		return ""
	}
	return "is not in a namespace with " + SelectorText(*peer.Namespaces)
}

// whyNotPort tells why no port of r is the flow's.
func (s scene) whyNotPort(r Rule) string {
	if len(r.Ports) == 0 {
		return unusable("port", r)
	}
	if !s.flow.Protocol.hasPorts() {
		return fmt.Sprintf("%s has no ports, and the rule names some", s.flow.Protocol)
	}
	var wanted, faults []string
	mixed := slices.ContainsFunc(r.Ports, func(p Port) bool { return p.Protocol != s.flow.Protocol })
	for _, p := range r.Ports {
		if fault := s.unresolved(p); fault != "" {
			faults = append(faults, fault)
			continue
		}
		wanted = append(wanted, s.wantedPort(p, mixed))
	}
	var parts []string
	if len(wanted) > 0 {
		have := fmt.Sprintf("port %d", s.flow.Port)
		if mixed {
			have = fmt.Sprintf("port %d/%s", s.flow.Port, s.flow.Protocol)
		}
		parts = append(parts, have+" is not "+listed(wanted, " or "))
	}
	if len(faults) > 0 {
		parts = append(parts, listed(faults, ", "))
	}
	return strings.Join(parts, ", ")
}

func listed(texts []string, separator string) string {
	return joined(len(texts), whyLimit, separator, func(i int) string { return texts[i] })
}

// wantedPort is a port that is not the flow's, with its protocol if the ports
// of the rule have several.
func (s scene) wantedPort(p Port, mixed bool) string {
	text := p.numbers()
	if mixed {
		text = portText(p)
	}
	if p.Name == "" || p.Protocol != s.flow.Protocol {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, strings.Trim(fmt.Sprint(s.numbersOf(p)), "[]"))
}

// unresolved says why a named port of the flow's protocol means no number at
// the flow's destination; it is empty for one that does.
func (s scene) unresolved(p Port) string {
	if p.Name == "" || p.Protocol != s.flow.Protocol || len(s.numbersOf(p)) > 0 {
		return ""
	}
	pods := s.destinations()
	if len(pods) == 0 {
		return fmt.Sprintf("named port %s is a pod's, and %s is not a pod's address", p.Name, s.peer)
	}
	if len(pods) > 1 {
		return fmt.Sprintf("named port %s is not the same on all %d pods with %s", p.Name, len(pods), s.peer)
	}
	for _, has := range pods[0].Ports {
		if has.Name == p.Name {
			return fmt.Sprintf("named port %s of %s is %s, not %s", p.Name, pods[0].ObjectKey, has.Protocol, p.Protocol)
		}
	}
	return fmt.Sprintf("named port %s is not defined on %s", p.Name, pods[0].ObjectKey)
}
