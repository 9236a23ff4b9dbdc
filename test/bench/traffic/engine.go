// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/weirnet/weir/test/netns"
)

// Addresses of the pods, and of a Service of the server.
var (
	clientAddr  = netip.MustParseAddr("10.244.1.10")
	serverAddr  = netip.MustParseAddr("10.244.1.11")
	serviceAddr = netip.MustParseAddr("10.96.0.1")
)

// stranger is the only peer of policy i, but for the last one's.
func stranger(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)})
}

func feed(n *netns.Node, input string, command ...string) error {
	return n.Do(func() error {
		c := exec.Command(command[0], command[1:]...)
		c.Stdin = strings.NewReader(input)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			return fmt.Errorf("%v: %w: %.500s", command, err, &out)
		}
		return nil
	})
}

// iptables writes rules as engines for NetworkPolicy commonly do: sets of
// addresses, a chain for each policy that marks what it allows, and two chains
// for each pod that ask one policy after the other.
func iptables(n *netns.Node, restore string, policies int) error {
	var sets, rules strings.Builder
	sets.WriteString("create pods hash:ip -exist\nadd pods " + clientAddr.String() + " -exist\nadd pods " + serverAddr.String() + " -exist\n")
	for i := range policies {
		fmt.Fprintf(&sets, "create peers-%[1]d hash:ip -exist\nflush peers-%[1]d\nadd peers-%[1]d %[2]s\n", i, stranger(i))
	}
	fmt.Fprintf(&sets, "add peers-%[1]d %[2]s\nadd peers-%[1]d %[3]s\n", policies-1, clientAddr, serverAddr)
	if err := feed(n, sets.String(), "ipset", "restore"); err != nil {
		return err
	}
	rules.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
	for i := range policies {
		fmt.Fprintf(&rules, ":IN-%[1]d - [0:0]\n:OUT-%[1]d - [0:0]\n", i)
	}
	for _, pod := range []struct {
		name string
		addr netip.Addr
	}{{"client", clientAddr}, {"server", serverAddr}} {
		fmt.Fprintf(&rules, ":POD-%[1]s-IN - [0:0]\n:POD-%[1]s-OUT - [0:0]\n-A FORWARD -d %[2]s -j POD-%[1]s-IN\n-A FORWARD -s %[2]s -j POD-%[1]s-OUT\n", pod.name, pod.addr)
		for _, direction := range []string{"IN", "OUT"} {
			chain := "POD-" + pod.name + "-" + direction
			fmt.Fprintf(&rules, "-A %s -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n-A %[1]s -j MARK --set-xmark 0x0/0x10000\n", chain)
			for i := range policies {
				fmt.Fprintf(&rules, "-A %s -j %s-%d\n", chain, direction, i)
			}
			fmt.Fprintf(&rules, "-A %s -m mark ! --mark 0x10000/0x10000 -j REJECT\n", chain)
		}
	}
	for i := range policies {
		for _, protocol := range []string{"tcp", "udp"} {
			fmt.Fprintf(&rules, "-A IN-%[1]d -p %[2]s -m set --match-set peers-%[1]d src -m set --match-set pods dst -m %[2]s --dport %[3]d:%[4]d -j MARK --set-xmark 0x10000/0x10000\n", i, protocol, portRequest, portOneWay)
			fmt.Fprintf(&rules, "-A OUT-%[1]d -p %[2]s -m set --match-set pods src -m set --match-set peers-%[1]d dst -m %[2]s --dport %[3]d:%[4]d -j MARK --set-xmark 0x10000/0x10000\n", i, protocol, portRequest, portOneWay)
		}
	}
	return feed(n, rules.String()+"COMMIT\n", restore)
}

// nftables writes the same as two sets of concatenations, one lookup each.
func nftables(n *netns.Node, policies int) error {
	var in, out []string
	allow := func(peer, pod netip.Addr) {
		for _, protocol := range []string{"tcp", "udp"} {
			in = append(in, fmt.Sprintf("%s . %s . %s . %d-%d", peer, pod, protocol, portRequest, portOneWay))
			out = append(out, fmt.Sprintf("%s . %s . %s . %d-%d", pod, peer, protocol, portRequest, portOneWay))
		}
	}
	for i := range policies {
		allow(stranger(i), clientAddr)
		allow(stranger(i), serverAddr)
	}
	allow(clientAddr, serverAddr)
	allow(serverAddr, clientAddr)
	rules := fmt.Sprintf(`table ip engine
delete table ip engine
table ip engine {
	set pods { type ipv4_addr; elements = { %[1]s, %[2]s } }
	set in { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; elements = { %[3]s } }
	set out { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; elements = { %[4]s } }
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		ip saddr @pods ip saddr . ip daddr . meta l4proto . th dport != @out reject
		ip daddr @pods ip saddr . ip daddr . meta l4proto . th dport != @in reject
	}
}
`, clientAddr, serverAddr, strings.Join(in, ", "), strings.Join(out, ", "))
	return feed(n, rules, "nft", "-f", "-")
}

// translation of the Service to the server, as kube-proxy's nftables mode does
// it: a map from address and port.
func translation(n *netns.Node) error {
	return feed(n, fmt.Sprintf(`table ip services {
	map ports { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; elements = {
		%[1]s . tcp . %[3]d : %[2]s . %[3]d, %[1]s . tcp . %[4]d : %[2]s . %[4]d, %[1]s . udp . %[5]d : %[2]s . %[5]d } }
	chain prerouting {
		type nat hook prerouting priority dstnat
		dnat ip to ip daddr . meta l4proto . th dport map @ports
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		meta mark & 0x4000 != 0 masquerade
	}
}
`, serviceAddr, serverAddr, portRequest, portConnect, portOneWay), "nft", "-f", "-")
}
