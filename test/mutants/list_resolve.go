// SPDX-License-Identifier: Apache-2.0

package main

// resolveMutants mistake who is meant, or miss a change.
var resolveMutants = []Mutant{
	{"directions-together", 1, "policy/resolve/subject.go", `if v.policy.Isolates[dir] {`, `if v.policy.Isolates[0] || v.policy.Isolates[1] {`, "a policy for one direction would isolate both", corpus},
	{"nil-rules-do-not-isolate", 2, "policy/resolve/set.go", `if len(sections) == 0 {`, `if len(sections) == 0 || sections[0].policy.Rules[dir] == nil {`, "a default deny would be open", corpus},
	{"namespace-for-pods-of-others", 3, "policy/resolve/term.go", `t.namespace = namespace`, `t.namespace = ""`, "podSelector: {} would match nobody", corpus},
	{"and-drops-pods", 5, "policy/resolve/term.go", `t.namespaces.Matches(pr.ns.labels) && t.pods.Matches(pr.labels)`, `t.namespaces.Matches(pr.ns.labels)`, "a peer with both selectors would be every pod of the namespaces", corpus},
	{"and-is-or", 5, "policy/resolve/term.go", `t.namespaces.Matches(pr.ns.labels) && t.pods.Matches(pr.labels)`, `(t.namespaces.Matches(pr.ns.labels) || t.pods.Matches(pr.labels))`, "a peer with both selectors would match what satisfies one", corpus},
	{"first-peer-alone", 5, "policy/resolve/section.go", `for _, p := range r.Peers {`, `for _, p := range r.Peers[:min(1, len(r.Peers))] {`, "two peers would not be or", corpus},
	{"except-cuts-other-blocks", 6, "policy/resolve/prefix.go", `return slices.Contains(cuts, id)`, `return len(cuts) > 0 && !slices.Contains(starts, id)`, "an except would cut the blocks of other rules as well", corpus},
	{"one-term-of-a-block", 6, "policy/resolve/prefix.go", "n.starts = append(n.starts, b.id)", "n.starts = append(n.starts[:0], b.id)", "of two terms with one block, one would be lost", corpus},
	{"ipv6-covers-ipv4", 7, "policy/resolve/prefix.go", `t.node(allIPv4).permanent = true`, `t.node(allIPv4).permanent = false`, "::/0 would allow every IPv4 address", corpus},
	{"longest-block-alone", 7, "policy/resolve/prefix.go", `append(slices.Clone(inherited), starts...)`, `append([]TermID(nil), starts...)`, "a block inside another would lose what the wider one allows", corpus},
	{"blocks-spare-selected-pods", 8, "policy/resolve/address.go", `if node != nil && len(node.terms) > 0 {`, `if node != nil && len(terms) == 0 && len(node.terms) > 0 {`, "a block would not match a pod that some selector matches", corpus},
	{"blocks-spare-pods", 8, "policy/resolve/address.go", `if node != nil && len(node.terms) > 0 {`, `if node != nil && len(node.terms) < 0 {`, "a block would match no pod", corpus},
	{"ingress-name-of-any-protocol", 13, "policy/resolve/set.go", `own.Name == p.Name && own.Protocol == p.Protocol`, `own.Name == p.Name`, "the number of a UDP port would be open for TCP", corpus},
	{"egress-name-without-to", 13, "policy/resolve/section.go", `for _, name := range names {
			rule.Terms`, `for _, name := range names[:0] {
			rule.Terms`, "a named port to every peer would be open to none", corpus},
	{"egress-names-forgotten", 13, "policy/resolve/section.go", `s.take(t, names, tt)`, `s.take(t, nil, tt)`, "a named port at egress would be closed", corpus},
	{"class-without-ports", 13, "policy/resolve/class.go", `return appendPorts(buf, ports)`, `return buf`, "two pods would share the number of one", corpus},
	{"named-port-not-to-blocks", 14, "policy/resolve/section.go", `t != nil {
				rule.Terms`, `t != nil && (t.block == nil || len(names) == 0) {
				rule.Terms`, "a named port towards a block would be closed for the pods inside", corpus},
	{"block-asks-later", 14, "policy/resolve/address.go", `return t.block.Prefix.Contains(a.addr)`, `return t.block.Prefix.IsSingleIP()`, "a second policy that names a port towards a known block would allow nothing", corpus},
	{"last-name-decides", 16, "policy/resolve/subject.go", `return strings.Compare(a.policy.Name, b.policy.Name)`, `return strings.Compare(b.policy.Name, a.policy.Name)`, "another rule than the first by name would be shown", corpus},
	{"deleted-policy-stays", 17, "policy/resolve/namespace.go", `e.replaceVersion(ns, key.Name, nil)`, `e.replaceVersion(ns, "", nil)`, "a pod would stay closed when its last policy goes", corpus},
	{"unselected-pod-stays", 17, "policy/resolve/subject.go", `return was || is`, `return is`, "a policy that no longer selects a pod would hold it", corpus},
	{"relabelled-namespace", 18, "policy/resolve/namespace.go", `same := ns.known == known && maps.Equal(ns.labels, n.Labels)`, `same := ns.known == known || maps.Equal(ns.labels, n.Labels)`, "a relabelled namespace would keep its peers' old classes", corpus},
	{"relabelled-pod", 18, "policy/resolve/content.go", `maps.Equal(a.Labels, b.Labels)`, `(len(a.Labels) == len(b.Labels) || maps.Equal(a.Labels, b.Labels))`, "a label with a new value would change nothing", corpus},
	{"relabelled-subject", 18, "policy/resolve/subject.go", `s.versions = selecting(s.ns, p.object)`, `s.versions = selecting(s.ns, s.pod.object)[:min(len(s.versions), 0)]`, "a pod behind its policy would be open", corpus},
	{"node-has-no-flag", 19, "policy/resolve/address.go", `flags |= PeerNode`, `flags |= 0`, "a pod could not be reached from its own node", programs},
	{"hostnetwork-is-peer", 20, "policy/resolve/pod.go", `p.object.Terminal || p.object.HostNetwork ||`, `p.object.Terminal ||`, "a podSelector would open a pod to a whole node", corpus},
	{"ended-pod-is-peer", 21, "policy/resolve/pod.go", `p.object.Terminal || p.object.HostNetwork ||`, `p.object.HostNetwork ||`, "the address of a pod that has ended would stay allowed", corpus},
	{"ended-pod-is-no-change", 21, "policy/resolve/content.go", `a.HostNetwork == b.HostNetwork && a.Terminal == b.Terminal &&`, `a.HostNetwork == b.HostNetwork &&`, "nobody would notice that a pod ends", corpus},
	{"reused-address-first-holder", 21, "policy/resolve/address.go", `for _, p := range a.holders[1:] {`, `for _, p := range a.holders[:0] {`, "an address reused early would keep the old pod's class", corpus},
	{"left-address-keeps-class", 21, "policy/resolve/pod.go", `e.markAddress(a)`, `_ = a.stale`, "the address of a pod that is gone would stay allowed", corpus},
	{"moved-pod", 22, "policy/resolve/content.go", `slices.Equal(a.IPs, b.IPs)`, `len(a.IPs) == len(b.IPs)`, "a changed IP would not move", corpus},
	{"first-address-alone", 22, "policy/resolve/pod.go", `cleanAddrs(p.object.IPs)`, `cleanAddrs(p.object.IPs[:min(1, len(p.object.IPs))])`, "the second address of a pod would be nobody's", corpus},
	{"class-change-cuts-nothing", 24, "policy/resolve/address.go", `d.MoveEpoch = d.MoveEpoch || !a.class.within(want)`, `d.MoveEpoch = d.MoveEpoch && !a.class.within(want)`, "a relabelled peer would keep its live connections", Suite{"./policy/compile", "^TestEpochMoves$"}},
	{"service-stays", 28, "policy/resolve/address.go", `e.address(ip).services--`, `e.address(ip).services -= 0`, "an address would be a Service's for ever", programs},
	{"entry-goes-before-its-change", 29, "policy/resolve/address.go", `needed && !a.entry || a.entry && (want != a.class || flags != a.flags)`, `needed && (!a.entry || want != a.class || flags != a.flags)`, "flows judged before an entry goes would keep the verdict of its old class", Suite{"./policy/compile", "^(TestEpochMoves|TestNoWrongInstant|TestRandomHistories)$"}},
	{"set-shared-by-name", 30, "policy/resolve/set.go", `key = binary.AppendUvarint(key, s.id)`, `key = append(key, s.policy.Name...)`, "equal names in two namespaces would share one policy", corpus},
	{"set-shared-across-ports", 30, "policy/resolve/set.go", `key = appendPorts(key, ports)`, `_ = ports`, "a pod would get the numbers of another's named ports", corpus},
	{"term-shared-across-namespaces", 30, "policy/resolve/term.go", `buf = strconv.AppendQuote(buf, namespace)`, `buf = strconv.AppendQuote(buf, "")`, "a selector would match another namespace's pods", corpus},
	{"operator-is-not-compared", 31, "policy/resolve/term.go", `'0'+byte(r.Operator)`, `'0'`, "Exists and DoesNotExist of one key would be one selector", corpus},
	{"values-are-not-compared", 31, "policy/resolve/term.go", `values := slices.Clone(r.Values)`, `values := slices.Clone(r.Values[:0])`, "two selectors of one key would be one", corpus},
	{"negative-selectors-lost", 31, "policy/resolve/selector.go", `to = appendMatching(to, b.rest, pr)`, `to = appendMatching(to, b.rest[:0], pr)`, "NotIn, Exists and DoesNotExist would match nothing", corpus},
	{"unusable-ports-open-all", 32, "policy/resolve/section.go", `return Rule{}`, `rule.AnyPort = true`, "a rule with one bad port would open every port", corpus},
	{"unknown-namespace-matches", 34, "policy/resolve/term.go", `return pr.ns.known && t.namespaces`, `return t.namespaces`, "a negative selector would match a namespace that nobody knows yet", corpus},
	{"policy-goes-with-namespace", 34, "policy/resolve/namespace.go", `len(ns.profiles) == 0 && len(ns.policies) == 0 && len(ns.subjects) == 0`, `len(ns.profiles) == 0 && len(ns.subjects) == 0`, "a policy would be lost with the last pod of a namespace not known yet", corpus},
	{"unusable-peers-are-all", 35, "policy/resolve/section.go", `rule.AnyPeer = r.AnyPeer`, `rule.AnyPeer = r.AnyPeer || len(r.Peers) == 0`, "a rule with one bad peer would allow everybody", corpus},
	{"all-covers-link-local", 36, "policy/resolve/prefix.go", `if parent != nil && n.prefix != linkLocal {`, `if parent != nil {`, "::/0 would allow the neighbours on the link", corpus},
}
