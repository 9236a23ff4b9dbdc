// SPDX-License-Identifier: Apache-2.0

package service

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/weirnet/weir/test/netns"
)

// dialect is the command by which the rules are written.
type dialect string

const (
	nft            dialect = "nft"
	iptablesLegacy dialect = "iptables-legacy"
	iptablesNFT    dialect = "iptables-nft"
)

// service is one port of a Service at one address, with its only backend; an
// invalid backend: it has none.
type service struct {
	network string // tcp or udp
	at      netip.AddrPort
	backend netip.AddrPort
}

// translation is all that kube-proxy would have written.
type translation struct {
	services []service
	// masqueradeAll: every translated request gets the node's address.
	masqueradeAll bool
	// masqueradeNone: not even a pod's own requests to itself, as kube-proxy
	// never does.
	masqueradeNone bool
}

// write replaces all rules of the node, for both families.
func (t translation) write(n *netns.Node, d dialect) error {
	for _, six := range []bool{false, true} {
		command, input := t.rules(d, six)
		err := n.Do(func() error { return pipe(input, command[0], command[1:]...) })
		if err != nil {
			return err
		}
	}
	return nil
}

func pipe(input, command string, args ...string) error {
	c := exec.Command(command, args...)
	c.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", command, args, err, &out)
	}
	return nil
}

func (t translation) rules(d dialect, six bool) (command []string, input string) {
	if d == nft {
		return []string{"nft", "-f", "-"}, t.nft(six)
	}
	name := string(d) + "-restore"
	if six {
		name = "ip6" + strings.TrimPrefix(name, "ip")
	}
	return []string{name}, t.iptables(six)
}

func (t translation) of(six bool) []service {
	var list []service
	for _, s := range t.services {
		if s.at.Addr().Is6() == six {
			list = append(list, s)
		}
	}
	return list
}

// A request that comes from its own backend is masqueraded, as kube-proxy
// does, and all of them if so asked.
func (t translation) marks(s service) string {
	if t.masqueradeAll {
		return "all"
	}
	if t.masqueradeNone {
		return s.at.Addr().String() // the source of nobody
	}
	return s.backend.Addr().String()
}

func (t translation) iptables(six bool) string {
	var nat, filter strings.Builder
	reject := "icmp-port-unreachable"
	if six {
		reject = "icmp6-port-unreachable"
	}
	nat.WriteString("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n" +
		"-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n" +
		"-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n" +
		"-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n" +
		"-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n-A KUBE-POSTROUTING -j MASQUERADE\n")
	filter.WriteString("*filter\n:KUBE-FORWARD - [0:0]\n:KUBE-SERVICES - [0:0]\n" +
		"-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\n-A FORWARD -j KUBE-FORWARD\n" +
		"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n" +
		"-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n")
	for _, s := range t.of(six) {
		match := fmt.Sprintf("-A KUBE-SERVICES -d %s -p %[2]s -m %[2]s --dport %d", s.at.Addr(), s.network, s.at.Port())
		if !s.backend.IsValid() {
			fmt.Fprintf(&filter, "%s -j REJECT --reject-with %s\n", match, reject)
			continue
		}
		if marks := t.marks(s); marks == "all" {
			fmt.Fprintf(&nat, "%s -j KUBE-MARK-MASQ\n", match)
		} else {
			fmt.Fprintf(&nat, "%s -s %s -j KUBE-MARK-MASQ\n", match, marks)
		}
		fmt.Fprintf(&nat, "%s -j DNAT --to-destination %s\n", match, s.backend)
	}
	return nat.String() + "COMMIT\n" + filter.String() + "COMMIT\n"
}

func (t translation) nft(six bool) string {
	family := "ip"
	if six {
		family = "ip6"
	}
	var nat, filter strings.Builder
	for _, s := range t.of(six) {
		match := fmt.Sprintf("\t\t%s daddr %s %s dport %d", family, s.at.Addr(), s.network, s.at.Port())
		if !s.backend.IsValid() {
			fmt.Fprintf(&filter, "%s reject\n", match)
			continue
		}
		if marks := t.marks(s); marks == "all" {
			fmt.Fprintf(&nat, "%s meta mark set mark or 0x4000\n", match)
		} else {
			fmt.Fprintf(&nat, "%s %s saddr %s meta mark set mark or 0x4000\n", match, family, marks)
		}
		fmt.Fprintf(&nat, "%s dnat to %s\n", match, s.backend)
	}
	return fmt.Sprintf(`table %[1]s kube-proxy
delete table %[1]s kube-proxy
table %[1]s kube-proxy {
	chain services {
%[2]s	}
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
%[3]s		ct state established,related accept
	}
}
`, family, &nat, &filter)
}
