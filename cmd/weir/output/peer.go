// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// IANA protocol numbers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

func hasPorts(protocol uint32) bool {
	return protocol == protoTCP || protocol == protoUDP || protocol == protoSCTP
}

// ProtocolName is the word for an IANA protocol number.
func ProtocolName(protocol uint32) string {
	switch protocol {
	case protoICMP:
		return "ICMP"
	case 2:
		return "IGMP"
	case 4:
		return "IPIP"
	case protoTCP:
		return "TCP"
	case protoUDP:
		return "UDP"
	case 41:
		return "IPV6-IN-IP"
	case 47:
		return "GRE"
	case 50:
		return "ESP"
	case 51:
		return "AH"
	case protoICMPv6:
		return "ICMPV6"
	case 97:
		return "ETHERIP"
	case 112:
		return "VRRP"
	case protoSCTP:
		return "SCTP"
	}
	return "protocol " + strconv.FormatUint(uint64(protocol), 10)
}

// flowProtocol names what a flow carries, with the type of ICMP messages and
// the EtherType of what is not IP.
func flowProtocol(f *pb.Flow) string {
	switch f.GetProtocol() {
	case 0:
		switch ether := f.GetEtherType(); ether {
		case 0, 0x0800, 0x86dd:
		case 0x0806:
			return "ARP"
		default:
			return fmt.Sprintf("EtherType 0x%04x", ether)
		}
	case protoICMP, protoICMPv6:
		return ProtocolName(f.GetProtocol()) + " " + icmpName(f)
	}
	return ProtocolName(f.GetProtocol())
}

func icmpName(f *pb.Flow) string {
	v6 := f.GetProtocol() == protoICMPv6
	switch kind := f.GetIcmpType(); {
	case !v6 && kind == 8, v6 && kind == 128:
		return "echo"
	case !v6 && kind == 0, v6 && kind == 129:
		return "echo reply"
	case !v6 && kind == 3, v6 && kind == 1:
		return fmt.Sprintf("unreachable/%d", f.GetIcmpCode())
	case !v6 && kind == 11, v6 && kind == 3:
		return "time exceeded"
	case v6 && kind == 2:
		return "too big"
	case v6 && kind == 133:
		return "router solicitation"
	case v6 && kind == 134:
		return "router advertisement"
	case v6 && kind == 135:
		return "neighbour solicitation"
	case v6 && kind == 136:
		return "neighbour advertisement"
	default:
		return fmt.Sprintf("type %d/%d", kind, f.GetIcmpCode())
	}
}

// object is namespace/name, or what there is of it.
func object(namespace, name string) string {
	if namespace == "" {
		return Escape(name)
	}
	return Escape(namespace) + "/" + Escape(name)
}

func policyName(p *pb.PolicyRef) string { return object(p.GetNamespace(), p.GetName()) }

func ruleName(r *pb.RuleRef) string {
	return fmt.Sprintf("%s %s rule %d", policyName(r.GetPolicy()), directionName(r.GetDirection()), r.GetIndex())
}

// policyNames joins names; with a limit above 0 it ends with "and N more".
func policyNames(refs []*pb.PolicyRef, limit int) string {
	shown := refs
	if limit > 0 && len(refs) > limit {
		shown = refs[:limit]
	}
	names := make([]string, len(shown))
	for i, ref := range shown {
		names[i] = policyName(ref)
	}
	joined := strings.Join(names, ", ")
	if left := len(refs) - len(shown); left > 0 {
		joined += fmt.Sprintf(" and %d more", left)
	}
	return joined
}

// endName is one end of a flow without its port: a pod by name, others by
// address.
func endName(p *pb.Peer) string {
	if p.GetIdentity() == pb.Identity_IDENTITY_POD && p.GetName() != "" {
		return object(p.GetNamespace(), p.GetName())
	}
	if p.GetIp() == "" {
		return "?"
	}
	return Escape(p.GetIp())
}

// peerText is one end of a flow: "shop/web:80", "10.0.0.1:80 (node)".
func peerText(p *pb.Peer, protocol uint32) string {
	if p.GetIdentity() == pb.Identity_IDENTITY_SERVICE && p.GetName() != "" {
		return join(object(p.GetNamespace(), p.GetName()), p.GetPort(), protocol) + " (service)"
	}
	end := join(endName(p), p.GetPort(), protocol)
	switch p.GetIdentity() {
	case pb.Identity_IDENTITY_NODE:
		return end + " (node)"
	case pb.Identity_IDENTITY_SERVICE:
		return end + " (service)"
	case pb.Identity_IDENTITY_WORLD:
		return end + " (world)"
	}
	return end
}

// join adds the port where the protocol has ports, or one is told.
func join(host string, port, protocol uint32) string {
	if port == 0 && !hasPorts(protocol) {
		return host
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}
