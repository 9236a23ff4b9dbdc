// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	rows := []struct {
		name   string
		change func(*Settings)
		want   string // part of the error; empty: none
	}{
		{"defaults", func(*Settings) {}, ""},
		{"bridge", func(s *Settings) { s.CNI, s.Proxy, s.Families = "bridge", "iptables", "ipv4" }, ""},
		{"unknown CNI", func(s *Settings) { s.CNI = "calico" }, `cni is "calico"`},
		{"IPVS", func(s *Settings) { s.Proxy = "ipvs" }, `proxy is "ipvs"`},
		{"IPv6 alone", func(s *Settings) { s.Families = "ipv6" }, `families is "ipv6"`},
		{"no node", func(s *Settings) { s.Nodes = 0 }, "nodes is 0"},
		{"too many nodes", func(s *Settings) { s.Nodes = MaxNodes + 1 }, "nodes is 10"},
		{"the whole machine", func(s *Settings) { s.State = "/" }, "state is"},
		{"a top folder", func(s *Settings) { s.State = "/var" }, "state is"},
		{"relative", func(s *Settings) { s.State = "state/x" }, "state is"},
		{"not clean", func(s *Settings) { s.State = "/var/lib/../../usr" }, "state is"},
	}
	for _, r := range rows {
		s := Defaults()
		r.change(&s)
		err := s.Validate()
		if r.want == "" && err != nil || r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)) {
			t.Errorf("%s: %v, want %q", r.name, err, r.want)
		}
	}
}

// No two nodes share an address or a pod range, and all lie in what the
// cluster's components are told.
func TestAddressesAreApart(t *testing.T) {
	s := Defaults()
	s.Nodes = MaxNodes
	seen := map[netip.Addr]string{}
	for _, fixed := range []string{ControlAddress, ControlAddress6, HostAddress, HostAddress6} {
		seen[netip.MustParseAddr(fixed)] = "fixed"
	}
	var ranges []netip.Prefix
	for _, n := range s.AllNodes() {
		for _, a := range n.Addresses() {
			if owner, ok := seen[a]; ok {
				t.Errorf("%s has %s, as has %s", n.Name(), a, owner)
			}
			seen[a] = n.Name()
		}
		for i, p := range n.PodRanges() {
			whole := netip.MustParsePrefix(strings.Split(s.PodRanges(), ",")[i])
			if !whole.Contains(p.Addr()) || p != p.Masked() {
				t.Errorf("%s: pod range %s is not in %s", n.Name(), p, whole)
			}
			for _, other := range ranges {
				if other.Overlaps(p) {
					t.Errorf("%s: pod range %s overlaps %s", n.Name(), p, other)
				}
			}
			ranges = append(ranges, p)
		}
	}
}
