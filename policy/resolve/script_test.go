// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/weirnet/weir/policy"
)

// batch reads one batch from a line of changes that ";" parts:
//
//	ns a env=prod             pod a/p 10.0.0.1,2001:db8::1 app=x web:80 there|host|done|uid:2
//	policy a/n app=x in=*|80  service a/s 10.96.0.1           -pod a/p  (gone)
//
// A rule is peer|port: peer is *, ns(sel), pods(sel), ns(sel)pods(sel), a CIDR
// or CIDR-CIDR (except); port is *, 80, 80-90 or a name, all of TCP. "in"
// alone isolates. A policy without labels selects every pod.
func batch(line string) policy.Batch {
	var b policy.Batch
	for change := range strings.SplitSeq(line, ";") {
		words := strings.Fields(change)
		if len(words) == 0 {
			continue
		}
		kind, gone := strings.CutPrefix(words[0], "-")
		namespace, name, _ := strings.Cut(words[1], "/")
		key := policy.ObjectKey{Namespace: namespace, Name: name}
		words = words[2:]
		if gone {
			addGone(&b, kind, key)
			continue
		}
		switch kind {
		case "ns":
			b.Namespaces = append(b.Namespaces, policy.Namespace{Name: namespace, Labels: labelsOf(words)})
		case "pod":
			b.Pods = append(b.Pods, scriptPod(key, words))
		case "policy":
			b.Policies = append(b.Policies, scriptPolicy(key, words))
		case "service":
			b.Services = append(b.Services, &policy.Service{ObjectKey: key, IPs: addrs(words[0])})
		default:
			panic("what is " + change)
		}
	}
	return b
}

func addGone(b *policy.Batch, kind string, key policy.ObjectKey) {
	switch kind {
	case "ns":
		b.DeletedNamespaces = append(b.DeletedNamespaces, key.Namespace)
	case "pod":
		b.DeletedPods = append(b.DeletedPods, key)
	case "policy":
		b.DeletedPolicies = append(b.DeletedPolicies, key)
	case "service":
		b.DeletedServices = append(b.DeletedServices, key)
	}
}

func labelsOf(words []string) map[string]string {
	labels := map[string]string{}
	for _, word := range words {
		if key, value, ok := strings.Cut(word, "="); ok && key != "in" && key != "out" {
			labels[key] = value
		}
	}
	return labels
}

func addrs(list string) []netip.Addr {
	var addrs []netip.Addr
	for addr := range strings.SplitSeq(list, ",") {
		addrs = append(addrs, netip.MustParseAddr(addr))
	}
	return addrs
}

func scriptPod(key policy.ObjectKey, words []string) *policy.Pod {
	p := &policy.Pod{ObjectKey: key, UID: "1", Labels: labelsOf(words), Node: "here"}
	for _, word := range words {
		name, number, isPort := strings.Cut(word, ":")
		first, _, _ := strings.Cut(word, ",")
		_, notAddr := netip.ParseAddr(first)
		switch {
		case word == "there":
			p.Node = word
		case word == "host":
			p.HostNetwork = true
		case word == "done":
			p.Terminal = true
		case name == "uid":
			p.UID = number
		case notAddr == nil:
			p.IPs = addrs(word)
		case isPort:
			p.Ports = append(p.Ports, policy.NamedPort{Name: name, Protocol: policy.TCP, Number: number16(number)})
		}
	}
	return p
}

func scriptPolicy(key policy.ObjectKey, words []string) *policy.Policy {
	p := &policy.Policy{ObjectKey: key, Subjects: *selectorOf(labelsOf(words))}
	for _, word := range words {
		side, rule, has := strings.Cut(word, "=")
		dir := policy.Ingress
		if side == "out" {
			dir = policy.Egress
		} else if side != "in" {
			continue
		}
		p.Isolates[dir] = true
		if has {
			p.Rules[dir] = append(p.Rules[dir], ruleOf(rule))
		}
	}
	return p
}

func selectorOf(labels map[string]string) *policy.Selector {
	s := &policy.Selector{}
	for key, value := range labels {
		s.Requirements = append(s.Requirements, policy.Requirement{Key: key, Operator: policy.In, Values: []string{value}})
	}
	return s
}

var pairs = regexp.MustCompile(`^(?:ns\(([^)]*)\))?(?:pods\(([^)]*)\))?$`)

func ruleOf(text string) policy.Rule {
	peer, port, _ := strings.Cut(text, "|")
	r := policy.Rule{AnyPeer: peer == "*", AnyPort: port == "*"}
	if !r.AnyPeer {
		r.Peers = []policy.Peer{peerOf(peer)}
	}
	if !r.AnyPort {
		p := policy.Port{Protocol: policy.TCP}
		if first, last, isRange := strings.Cut(port, "-"); port[0] > '9' {
			p.Name = port
		} else if p.First, p.Last = number16(first), number16(first); isRange {
			p.Last = number16(last)
		}
		r.Ports = []policy.Port{p}
	}
	return r
}

func peerOf(text string) policy.Peer {
	if m := pairs.FindStringSubmatch(text); m != nil {
		var p policy.Peer
		if strings.Contains(text, "ns(") {
			p.Namespaces = selectorOf(labelsOf(strings.Fields(m[1])))
		}
		if strings.Contains(text, "pods(") {
			p.Pods = selectorOf(labelsOf(strings.Fields(m[2])))
		}
		return p
	}
	prefix, except, has := strings.Cut(text, "-")
	b := &policy.Block{Prefix: netip.MustParsePrefix(prefix)}
	if has {
		b.Excepts = []netip.Prefix{netip.MustParsePrefix(except)}
	}
	return policy.Peer{Block: b}
}

func number16(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		panic(err)
	}
	return uint16(n)
}

// summary tells a delta in one line. A class is told by the number of its
// terms and by its ports, e.g. 2+web:80.
func summary(e *Engine, d *Delta) string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range d.Peers {
		say("%s=%s%s", p.Addr, classText(e, p.Class), []string{"", "S", "N", "SN"}[p.Flags])
	}
	for _, p := range d.Prefixes {
		say("%s=%s", p.Prefix, classText(e, p.Class))
	}
	for _, s := range d.Subjects {
		say("%s/%s:%s%s", s.Pod.Namespace, s.Pod.Name, setText(e, s.Ingress), setText(e, s.Egress))
	}
	if d.MoveEpoch {
		say("epoch")
	}
	for _, s := range d.GoneSubjects {
		say("-%s/%s", s.Namespace, s.Name)
	}
	for _, a := range d.GonePeers {
		say("-%s", a)
	}
	for _, p := range d.GonePrefixes {
		say("-%s", p)
	}
	for what, n := range map[string]int{"-sets": len(d.GoneSets), "-rules": len(d.GoneRules), "-classes": len(d.GoneClasses)} {
		if n > 0 {
			say("%s:%d", what, n)
		}
	}
	return strings.Join(out, " ")
}

func classText(e *Engine, id ClassID) string {
	for _, c := range e.Classes() {
		if c.ID == id {
			text := strconv.Itoa(len(c.Terms))
			for _, p := range c.Ports {
				text += fmt.Sprintf("+%s:%d", p.Name, p.Number)
			}
			return text
		}
	}
	return "0"
}

// setText is the number of policies in a set, "-" for none.
func setText(e *Engine, id SetID) string {
	if id == 0 {
		return "-"
	}
	return strconv.Itoa(len(e.Set(id).Policies))
}
