// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"strings"
)

// iptables gathers what iptables-restore reads of one family.
type iptables struct {
	t                        translation
	version                  int // of IP
	chains, nat, filter, raw strings.Builder
}

func (t translation) iptables(six bool) string {
	r := iptables{t: t, version: 4}
	if six {
		r.version = 6
	}
	for i, s := range t.of(six) {
		r.service(i, s)
	}
	return fmt.Sprintf(`*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
%s-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
%sCOMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
%sCOMMIT
*raw
%sCOMMIT
`, &r.chains, &r.nat, &r.filter, &r.raw)
}

func (r *iptables) service(i int, s service) {
	to, port := "-d "+s.at.Addr().String(), fmt.Sprintf("-p %[1]s -m %[1]s --dport %d", s.network, s.at.Port())
	if s.at.Addr().IsUnspecified() {
		to = "-m addrtype --dst-type LOCAL"
	}
	if s.local {
		fmt.Fprintf(&r.raw, "-A PREROUTING %s %s -j NOTRACK\n", to, port)
		fmt.Fprintf(&r.raw, "-A OUTPUT -s %s -p %[2]s -m %[2]s --sport %d -j NOTRACK\n", s.at.Addr(), s.network, s.at.Port())
	}
	if len(s.backends) == 0 {
		reject := map[int]string{4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}[r.version]
		fmt.Fprintf(&r.filter, "-A KUBE-SERVICES %s %s -j REJECT --reject-with %s\n", to, port, reject)
		return
	}
	chain := fmt.Sprintf("KUBE-SVC-%d-%d", r.version, i)
	fmt.Fprintf(&r.chains, ":%s - [0:0]\n", chain)
	fmt.Fprintf(&r.nat, "-A KUBE-SERVICES %s %s -j %s\n", to, port, chain)
	var known, chances strings.Builder
	for j, backend := range s.backends {
		endpoint := fmt.Sprintf("KUBE-SEP-%d-%d-%d", r.version, i, j)
		r.endpoint(endpoint, s, backend)
		if s.affinity {
			fmt.Fprintf(&known, "-A %s -m recent --name %[2]s --rcheck --seconds 10800 --reap -j %[2]s\n", chain, endpoint)
		}
		chance := ""
		if left := len(s.backends) - j; left > 1 {
			chance = fmt.Sprintf(" -m statistic --mode random --probability %.10f", 1/float64(left))
		}
		fmt.Fprintf(&chances, "-A %s%s -j %s\n", chain, chance, endpoint)
	}
	fmt.Fprintf(&r.nat, "%s%s", &known, &chances)
}

func (r *iptables) endpoint(chain string, s service, backend netip.AddrPort) {
	fmt.Fprintf(&r.chains, ":%s - [0:0]\n", chain)
	switch {
	case r.t.masqueradeAll:
		fmt.Fprintf(&r.nat, "-A %s -j KUBE-MARK-MASQ\n", chain)
	case !r.t.masqueradeNone:
		fmt.Fprintf(&r.nat, "-A %s -s %s -j KUBE-MARK-MASQ\n", chain, backend.Addr())
	}
	remember := ""
	if s.affinity {
		remember = fmt.Sprintf(" -m recent --name %s --set", chain)
	}
	fmt.Fprintf(&r.nat, "-A %s%s -p %s -j DNAT --to-destination %s\n", chain, remember, s.network, backend)
}
