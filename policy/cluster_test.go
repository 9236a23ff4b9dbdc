// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// town is the cluster of the tables. Namespace ghost has a pod and is not
// known.
func town(policies ...*Policy) *Cluster {
	return &Cluster{
		Namespaces: map[string]Namespace{
			"shop": {Name: "shop", Labels: labels("team=a,kubernetes.io/metadata.name=shop")},
			"lab":  {Name: "lab", Labels: labels("team=b,kubernetes.io/metadata.name=lab")},
		},
		Pods: []*Pod{
			pod("shop/web", "app=web", "10.0.0.1,fd00::1", "http=8080/TCP,dns=53/UDP"),
			pod("shop/db", "app=db,tier=back", "10.0.0.2,fd00::2", "http=80/TCP,http=81/TCP,sql=5432/TCP"),
			pod("lab/web", "app=web,mark=", "10.0.1.1,fd00:1::1", "http=9090/TCP"),
			pod("lab/probe", "", "10.0.1.2", ""),
			pod("ghost/web", "app=web", "10.0.2.1", "http=8080/TCP"),
			withHostNetwork(pod("shop/host", "app=web", "192.168.0.7", "http=8080/TCP")),
			ended(pod("shop/job", "app=web", "10.0.0.9", "http=8080/TCP")),
			pod("shop/waiting", "app=web", "", "http=8080/TCP"),
			// Two live pods with one address, of which one is going.
			pod("shop/old", "app=web,gen=1", "10.0.3.3", "http=8080/TCP,adm=1/TCP"),
			pod("shop/new", "app=web,gen=2", "10.0.3.3", "http=8080/TCP,adm=2/TCP"),
			pod("shop/link", "app=web", "fe80::7", "http=8080/TCP"),
		},
		Policies: policies,
	}
}

func (c *Cluster) pod(t testing.TB, name string) *Pod {
	t.Helper()
	for _, p := range c.Pods {
		if p.ObjectKey == objectKey(name) {
			return p
		}
	}
	t.Fatalf("no pod %s", name)
	return nil
}

// flow reads "ingress shop/db 10.0.0.1 80/TCP".
func (c *Cluster) flow(t testing.TB, text string) Flow {
	t.Helper()
	f := strings.Fields(text)
	if len(f) != 4 {
		t.Fatalf("flow %q: want 4 fields", text)
	}
	p := parsePort(f[3])
	out := Flow{Subject: c.pod(t, f[1]), Peer: netip.MustParseAddr(f[2]), Protocol: p.Protocol, Port: p.First}
	if f[0] == "egress" {
		out.Direction = Egress
	}
	return out
}

func pod(name, labelText, ips, ports string) *Pod {
	p := &Pod{ObjectKey: objectKey(name), Labels: labels(labelText)}
	for _, ip := range split(ips) {
		p.IPs = append(p.IPs, netip.MustParseAddr(ip))
	}
	for _, text := range split(ports) {
		portName, number, _ := strings.Cut(text, "=")
		n := parsePort(number)
		p.Ports = append(p.Ports, NamedPort{Name: portName, Protocol: n.Protocol, Number: n.First})
	}
	return p
}

func withHostNetwork(p *Pod) *Pod { p.HostNetwork = true; return p }
func ended(p *Pod) *Pod           { p.Terminal = true; return p }

func objectKey(text string) ObjectKey {
	namespace, name, _ := strings.Cut(text, "/")
	return ObjectKey{Namespace: namespace, Name: name}
}

func labels(text string) map[string]string {
	out := map[string]string{}
	for _, l := range split(text) {
		k, v, _ := strings.Cut(l, "=")
		out[k] = v
	}
	return out
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// ingress and egress are policies that isolate in one direction.
func ingress(name, subjects string, rules ...Rule) *Policy {
	return &Policy{ObjectKey: objectKey(name), Subjects: *sel(subjects), Isolates: [2]bool{true, false}, Rules: [2][]Rule{rules, nil}}
}

func egress(name, subjects string, rules ...Rule) *Policy {
	return &Policy{ObjectKey: objectKey(name), Subjects: *sel(subjects), Isolates: [2]bool{false, true}, Rules: [2][]Rule{nil, rules}}
}

// sel reads "app=web,!old,tier" and "app in a|b", "app notin a|b".
func sel(text string) *Selector {
	out := &Selector{}
	for _, part := range split(text) {
		out.Requirements = append(out.Requirements, requirement(part))
	}
	return out
}

func requirement(text string) Requirement {
	if f := strings.Fields(text); len(f) == 3 {
		op := In
		if f[1] == "notin" {
			op = NotIn
		}
		return Requirement{Key: f[0], Operator: op, Values: strings.Split(f[2], "|")}
	}
	if k, v, ok := strings.Cut(text, "="); ok {
		return Requirement{Key: k, Operator: In, Values: []string{v}}
	}
	if k, ok := strings.CutPrefix(text, "!"); ok {
		return Requirement{Key: k, Operator: DoesNotExist}
	}
	return Requirement{Key: text, Operator: Exists}
}

// to is a rule for the peers on the ports "80/TCP,http/TCP"; "" is every port.
// No peer is any peer.
func to(ports string, peers ...Peer) Rule {
	r := Rule{AnyPeer: len(peers) == 0, Peers: peers, AnyPort: ports == ""}
	for _, p := range split(ports) {
		r.Ports = append(r.Ports, parsePort(p))
	}
	return r
}

func pods(text string) Peer          { return Peer{Pods: sel(text)} }
func spaces(text string) Peer        { return Peer{Namespaces: sel(text)} }
func podsIn(space, text string) Peer { return Peer{Namespaces: sel(space), Pods: sel(text)} }

func block(prefix string, excepts ...string) Peer {
	b := &Block{Prefix: netip.MustParsePrefix(prefix)}
	for _, e := range excepts {
		b.Excepts = append(b.Excepts, netip.MustParsePrefix(e))
	}
	return Peer{Block: b}
}

// parsePort reads "80/TCP", "80-90/TCP", "*/UDP", "http/TCP" and, for other
// protocols, "0/47".
func parsePort(text string) Port {
	number, name, _ := strings.Cut(text, "/")
	protocols := map[string]Protocol{"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP, "ICMPv6": ICMPv6}
	p, ok := protocols[name]
	if !ok {
		p = Protocol(mustNumber(name))
	}
	if number == "*" {
		return Port{Protocol: p, Last: math.MaxUint16}
	}
	first, last, ranged := strings.Cut(number, "-")
	if !ranged {
		last = first
	}
	if _, err := strconv.Atoi(first); err != nil {
		return Port{Protocol: p, Name: number}
	}
	return Port{Protocol: p, First: mustNumber(first), Last: mustNumber(last)}
}

func mustNumber(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		panic(fmt.Sprintf("number %q of a test: %v", text, err))
	}
	return uint16(n)
}
