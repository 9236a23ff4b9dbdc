// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"strings"
)

// nftables gathers what nft reads of one family.
type nftables struct {
	t       translation
	family  string // ip or ip6
	address string // the type of a set of addresses

	endpoints, services, filter, raw, answers strings.Builder
}

func (t translation) nft(six bool) string {
	r := nftables{t: t, family: "ip", address: "ipv4_addr"}
	if six {
		r.family, r.address = "ip6", "ipv6_addr"
	}
	for i, s := range t.of(six) {
		r.service(i, s)
	}
	return fmt.Sprintf(`table %[1]s kube-proxy
delete table %[1]s kube-proxy
table %[1]s kube-proxy {
%[2]s	chain services {
%[3]s	}
	chain raw {
		type filter hook prerouting priority raw
%[4]s	}
	chain answers {
		type filter hook output priority raw
%[5]s	}
	chain prerouting {
		type nat hook prerouting priority dstnat; jump services
	}
	chain output {
		type nat hook output priority -100; jump services
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		meta mark & 0x4000 == 0 return
		meta mark set mark xor 0x4000
		masquerade
	}
	chain forward {
		type filter hook forward priority filter
%[6]s		ct state established,related accept
	}
}
`, r.family, &r.endpoints, &r.services, &r.raw, &r.answers, &r.filter)
}

func (r *nftables) service(i int, s service) {
	to := fmt.Sprintf("%s daddr %s", r.family, s.at.Addr())
	if s.at.Addr().IsUnspecified() {
		to = "fib daddr type local"
	}
	match := fmt.Sprintf("\t\t%s %s dport %d", to, s.network, s.at.Port())
	if s.local {
		fmt.Fprintf(&r.raw, "%s notrack\n", match)
		fmt.Fprintf(&r.answers, "\t\t%s saddr %s %s sport %d notrack\n", r.family, s.at.Addr(), s.network, s.at.Port())
	}
	if len(s.backends) == 0 {
		fmt.Fprintf(&r.filter, "%s reject\n", match)
		return
	}
	var chances []string
	for j, backend := range s.backends {
		id := fmt.Sprintf("%d-%d", i, j)
		r.endpoint(id, s, backend)
		if s.affinity {
			fmt.Fprintf(&r.services, "%s %s saddr @affinity-%[3]s goto endpoint-%[3]s\n", match, r.family, id)
		}
		chances = append(chances, fmt.Sprintf("%d : goto endpoint-%s", j, id))
	}
	fmt.Fprintf(&r.services, "%s numgen random mod %d vmap { %s }\n", match, len(chances), strings.Join(chances, ", "))
}

func (r *nftables) endpoint(id string, s service, backend netip.AddrPort) {
	if s.affinity {
		fmt.Fprintf(&r.endpoints, "\tset affinity-%s {\n\t\ttype %s\n\t\tflags dynamic, timeout\n\t\ttimeout 3h\n\t}\n", id, r.address)
	}
	fmt.Fprintf(&r.endpoints, "\tchain endpoint-%s {\n", id)
	switch {
	case r.t.masqueradeAll:
		r.endpoints.WriteString("\t\tmeta mark set mark or 0x4000\n")
	case !r.t.masqueradeNone:
		fmt.Fprintf(&r.endpoints, "\t\t%s saddr %s meta mark set mark or 0x4000\n", r.family, backend.Addr())
	}
	if s.affinity {
		fmt.Fprintf(&r.endpoints, "\t\tupdate @affinity-%s { %s saddr }\n", id, r.family)
	}
	fmt.Fprintf(&r.endpoints, "\t\tmeta l4proto %s dnat to %s\n\t}\n", s.network, backend)
}
