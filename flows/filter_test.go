// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample is web (10.1.0.5:40000) to db (10.2.0.6:5432) by the Service
// kube-system/dns (10.96.0.1:53), allowed by shop/allow-app.
func sample() *Flow {
	return &Flow{
		Time: noon, Verdict: Allowed, Protocol: policy.TCP, Rule: allow,
		Source:      Peer{Addr: netip.MustParseAddr("10.1.0.5"), Port: 40000, Identity: PodIdentity, Pod: web},
		Destination: Peer{Addr: netip.MustParseAddr("10.2.0.6"), Port: 5432, Identity: PodIdentity, Pod: db},
		Service:     &Peer{Addr: netip.MustParseAddr("10.96.0.1"), Port: 53, Identity: ServiceIdentity, Service: dns},
	}
}

// denied is 2001:db8::1 (the world) to web, ICMPv6, isolated by shop/default-deny.
func denied() *Flow {
	return &Flow{
		Time: noon, Verdict: Denied, Protocol: policy.ICMPv6, Isolating: closing,
		Source:      Peer{Addr: netip.MustParseAddr("2001:db8::1")},
		Destination: Peer{Addr: netip.MustParseAddr("fd00::5"), Identity: PodIdentity, Pod: web},
	}
}

func TestFilterMatches(t *testing.T) {
	type s = []string
	type n = []uint32
	for _, row := range []struct {
		name           string
		spec           FilterSpec
		sample, denied bool
	}{
		{"nothing set", FilterSpec{}, true, true},
		{"empty lists", FilterSpec{Pods: s{}, Ports: n{}}, true, true},
		{"pod by name", FilterSpec{Pods: s{"web"}}, true, true},
		{"pod by both names", FilterSpec{Pods: s{"data/db"}}, true, false},
		{"pod of another namespace", FilterSpec{Pods: s{"other/web"}}, false, false},
		{"a name is not a prefix", FilterSpec{Pods: s{"we"}}, false, false},
		{"one of two pods", FilterSpec{Pods: s{"nobody", "db"}}, true, false},
		{"a Service is no pod", FilterSpec{Pods: s{"dns"}}, false, false},
		{"namespace of the source", FilterSpec{Namespaces: s{"shop"}}, true, true},
		{"namespace of the destination", FilterSpec{Namespaces: s{"data"}}, true, false},
		{"namespace of the Service", FilterSpec{Namespaces: s{"kube-system"}}, true, false},
		{"address", FilterSpec{IPs: s{"10.2.0.6"}}, true, false},
		{"mapped address", FilterSpec{IPs: s{"::ffff:10.2.0.6"}}, true, false},
		{"Service address", FilterSpec{IPs: s{"10.96.0.1"}}, true, false},
		{"block", FilterSpec{IPs: s{"10.2.0.0/16"}}, true, false},
		{"block with host bits", FilterSpec{IPs: s{"10.2.77.6/16"}}, true, false},
		{"mapped block", FilterSpec{IPs: s{"::ffff:10.2.0.0/112"}}, true, false},
		{"all of IPv4", FilterSpec{IPs: s{"0.0.0.0/0"}}, true, false},
		{"all of IPv6", FilterSpec{IPs: s{"::/0"}}, false, true},
		{"other block", FilterSpec{IPs: s{"10.3.0.0/16"}}, false, false},
		{"source port", FilterSpec{Ports: n{40000}}, true, false},
		{"destination port", FilterSpec{Ports: n{1, 5432}}, true, false},
		{"port before translation", FilterSpec{Ports: n{53}}, true, false},
		{"port 0", FilterSpec{Ports: n{0}}, false, true},
		{"protocol", FilterSpec{Protocols: n{17, 58}}, false, true},
		{"verdict", FilterSpec{Verdicts: []Verdict{Allowed}}, true, false},
		{"verdicts", FilterSpec{Verdicts: []Verdict{Audited, Denied}}, false, true},
		{"deciding policy", FilterSpec{Policies: s{"shop/allow-app"}}, true, false},
		{"isolating policy", FilterSpec{Policies: s{"default-deny"}}, false, true},
		{"policy of another namespace", FilterSpec{Policies: s{"data/allow-app"}}, false, false},
		{"both must match", FilterSpec{Pods: s{"web"}, Ports: n{5432}}, true, false},
		{"both must match, one does not", FilterSpec{Pods: s{"web"}, Ports: n{5433}}, false, false},
	} {
		f, err := Compile(Query{Filter: row.spec})
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if f.Matches(sample()) != row.sample || f.Matches(denied()) != row.denied {
			t.Errorf("%s: sample %v, denied %v; want the opposite of one", row.name, f.Matches(sample()), f.Matches(denied()))
		}
	}
}

func TestCompileNamesFieldAndAccepted(t *testing.T) {
	type s = []string
	for _, row := range []struct {
		spec FilterSpec
		says string
	}{
		{FilterSpec{Pods: s{"ok", ""}}, `filter.pods[1]: "" is not "namespace/name" or "name"`},
		{FilterSpec{Pods: s{"a/b/c"}}, `filter.pods[0]: "a/b/c" is not`},
		{FilterSpec{Pods: s{"/b"}}, `filter.pods[0]: "/b" is not`},
		{FilterSpec{Pods: s{"a/"}}, `filter.pods[0]: "a/" is not`},
		{FilterSpec{Policies: s{"a b"}}, `filter.policies[0]: "a b" is not`},
		{FilterSpec{Namespaces: s{""}}, `filter.namespaces[0]: "" is not the name of a namespace`},
		{FilterSpec{Namespaces: s{"a/b"}}, `filter.namespaces[0]: "a/b" is not`},
		{FilterSpec{IPs: s{"10.0.0"}}, `filter.ips[0]: "10.0.0" is not an address or CIDR`},
		{FilterSpec{IPs: s{"10.0.0.0/33"}}, `filter.ips[0]`},
		{FilterSpec{IPs: s{"fe80::1%eth0"}}, `filter.ips[0]`},
		{FilterSpec{IPs: s{"::ffff:0.0.0.0/90"}}, `filter.ips[0]`},
		{FilterSpec{Ports: []uint32{65536}}, `filter.ports[0]: 65536 is not a port (0 to 65535)`},
		{FilterSpec{Protocols: []uint32{6, 256}}, `filter.protocols[1]: 256 is not an IANA protocol number`},
		{FilterSpec{Verdicts: []Verdict{3}}, `filter.verdicts[0]: 3 is not a verdict (denied, allowed or audited)`},
	} {
		f, err := Compile(Query{Filter: row.spec})
		if err == nil || f != nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%+v: filter %v, error %v; want %q", row.spec, f, err, row.says)
		}
	}
	_, err := Compile(Query{Filter: FilterSpec{Pods: s{""}, Ports: []uint32{1 << 20}}})
	if err == nil || !strings.Contains(err.Error(), "pods") || !strings.Contains(err.Error(), "ports") {
		t.Errorf("two mistakes, one told: %v", err)
	}
}

func BenchmarkFilterMiss(b *testing.B) {
	f, err := Compile(Query{Filter: FilterSpec{Pods: []string{"other/pod"}, IPs: []string{"10.9.0.0/16"}}})
	if err != nil {
		b.Fatal(err)
	}
	flow := sample()
	b.ReportAllocs()
	for b.Loop() {
		f.Matches(flow)
	}
}
