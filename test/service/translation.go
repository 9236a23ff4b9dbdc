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

// service is one port of a Service at one address.
type service struct {
	network string // tcp or udp
	// at: an unspecified address stands for every address of the node, as node
	// ports and host ports (those of the portmap plugin) match.
	at       netip.AddrPort
	backends []netip.AddrPort // one of them by chance; none: refused
	// affinity: a source address keeps the backend that it got first.
	affinity bool
	// local: a process of the node answers at the address. As NodeLocal DNS does
	// it, conntrack is kept from these packets, and nobody translates them.
	local bool
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

// rules are the command of a dialect, and what it reads.
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
