// SPDX-License-Identifier: Apache-2.0

package main

// attack is for what a hostile pod or host sends: a test of test/hostile, as
// -run takes the names below TestAttacks.
func attack(path string) Suite { return Suite{"./test/hostile", "^TestAttacks$/" + path} }

// attackMutants take one defence away each, so that an attack gets through or
// is stopped by chance. Each attack of test/hostile has one at least.
var attackMutants = []Mutant{
	{"attack-forged-source", 22, "bpf/src/source.h", `if (is_spoofed(pkt))`, `if (is_spoofed(pkt) && !owner_of(pkt->key.remote))`, "a pod could send to its neighbours as the node, as a host outside or as nobody", attack("bridged/stopped/^source_IPv._of_(nobody|the)")},
	{"attack-source-in-tag", 22, "bpf/src/source.h", `if (is_spoofed(pkt))`, `if (is_spoofed(pkt) && !owner_of(pkt->key.remote))`, "a VLAN tag would hide a forged source", attack("bridged/stopped/in_a_VLAN_tag")},
	{"attack-source-of-neighbour", 22, "bpf/src/source.h", `if (is_own(pkt->key.ifindex, from))`, `if (owner_of(from))`, "a pod could send as its neighbour", attack("routed/stopped/^source_IPv._of_a_neighbour")},
	{"attack-unspecified-ipv4", 22, "bpf/src/source.h", `return !is_dhcp_request(pkt);`, `return !is_ipv4_any(from);`, "a pod could send anything without a source", attack("bridged/stopped/source_IPv4_unspecified")},
	{"attack-unspecified-ipv6", 22, "bpf/src/source.h", `return !is_listener_traffic(pkt);`, `return false;`, "a pod could send anything without a source", attack("bridged/stopped/source_IPv6_unspecified")},
	{"attack-link-local-source", 22, "bpf/src/source.h", `return !is_link_local(to) && !is_link_multicast(to);`, `return is_multicast(to) && !is_link_multicast(to);`, "a pod could send to the world from an address that nobody has assigned", attack("bridged/stopped/source_IPv6_link-local")},
	{"attack-loopback-source", 22, "bpf/src/judge.h", `if (is_loopback(pkt->key.local) ||`, `if (is_loopback(pkt->key.remote) ||`, "a pod could send as the receiver itself", attack("bridged/stopped/source_IPv._loopback")},
	{"attack-target-as-source", 25, "bpf/src/source.h", `if (is_own(pkt->key.ifindex, from))`, `if (is_own(pkt->key.ifindex, from) || same_address(from, pkt->key.remote))`, "what a pod forges would pass as the target's own traffic", attack("routed/stopped/source_the_target")},
	{"attack-address-added", 22, "bpf/src/source.h", `if (is_spoofed(pkt))`, `if (is_spoofed(pkt) && !owner_of(pkt->key.remote))`, "an address that a pod gives itself would be its own", attack("routed/address_added_inside")},
	{"attack-accomplice", 22, "bpf/src/track.h", `ruling->flow_flags |= FLOW_FOREIGN;`, `ruling->flow_flags |= FLOW_TRANSLATED;`, "a pod could answer with the address that an accomplice called", Suite{"./test/hostile", "^TestForeignLocal$"}},
	{"attack-outside-as-node", 19, "bpf/src/verdict.h", `arrival == ARRIVED_FROM_STACK && peer.flags & PEER_NODE`, `peer.flags & PEER_NODE`, "a host outside that says it is the node would reach every pod", attack("routed/stopped/from_outside_as_the_(node|gateway)")},
	{"attack-outside-as-target", 25, "bpf/src/verdict.h", `if (arrival == ARRIVED_FROM_POD ||`, `if (arrival == ARRIVED_FROM_POD || same_address(key->local, key->remote) ||`, "a packet with the target's address as source would pass as its own traffic", attack("routed/stopped/from_outside_as_the_target")},
	{"attack-tunnel-port", 19, "bpf/src/source.h", `is_tunnel_port(pkt->key.remote_port))`, `!is_tunnel_port(pkt->key.remote_port))`, "a pod could inject packets of any source by its node's tunnel", attack("routed/stopped/VXLAN")},
	{"attack-tunnel-by-broadcast", 19, "bpf/src/source.h", `if (is_multicast(to) || is_broadcast(to) || is_link_local(to))`, `if (is_link_local(to))`, "a pod could inject packets of any source by its node's tunnel", attack("bridged/stopped/VXLAN_to_(the_broadcast|all_nodes)")},
	{"attack-encapsulation", 19, "bpf/src/source.h", `if (is_encapsulation(protocol))`, `if (is_encapsulation(protocol) && !pkt->l4)`, "a pod could inject packets of any source by its node's tunnel", attack("routed/stopped/(IPIP|GRE|EtherIP|IPv6_in_IPv6)")},
	{"attack-fragments-as-node", 19, "bpf/src/verdict.h", `arrival == ARRIVED_FROM_STACK && peer.flags & PEER_NODE`, `peer.flags & PEER_NODE`, "a host outside that says it is the node would reach every pod, in fragments", attack("routed/stopped/fragments_from_outside")},
	{"attack-headless", 26, "bpf/src/judge.h", `if (pkt->headerless)`, `if (pkt->headerless && !pkt->l4)`, "a first fragment without ports would be judged as port 0", attack("routed/stopped/a_first_fragment")},
	{"attack-later-fragment", 26, "bpf/src/fragments.h", `deny(ruling, REASON_FRAGMENT);`, `allow(ruling, REASON_NOT_ISOLATED);`, "a later fragment would need no first one", attack("bridged/stopped/a_later_fragment")},
	{"attack-midstream", 26, "bpf/src/track.h", `work->ruling = direct;`, `work->ruling = direct, allow(&work->ruling, REASON_MIDSTREAM);`, "TCP that does not begin a connection would pass any policy", attack("routed/stopped/TCP")},
	{"attack-midstream-strict", 26, "bpf/src/track.h", `((!midstream_strict && work`, `((!false && work`, "with --midstream=strict a bare ACK from a served port would pass", attack("bridged/stopped/TCP_ACK_from_a_served_port")},
	{"attack-past-recheck", 24, "bpf/src/track.h", `if (protocol != PROTO_TCP)`, `if (protocol != PROTO_UDP)`, "a connection that policy has cut would go on in the middle", attack("routed/tombstone")},
	{"attack-way-back", 26, "bpf/src/flowtable.h", `last = flow->initiator == SIDE_LOCAL ? flow->last_tx : flow->last_rx;`, `last = last_seen(flow);`, "one datagram would open the way back for ever", attack("routed/only_the_initiator")},
	{"attack-error-without-flow", 27, "bpf/src/icmp.h", `if (!flow || is_cut(flow)`, `if (!flow) return true; if (is_cut(flow)`, "errors about nothing would carry anything", attack("routed/stopped/ICMP_error")},
	{"attack-redirect", 27, "bpf/src/protocol.h", `(type == ICMP_UNREACHABLE ||`, `(type == 5 || type == ICMP_UNREACHABLE ||`, "a redirect about a flow would move a pod's route", attack("routed/error_about_a_known_flow/a_redirect")},
	{"attack-long-error", 27, "bpf/src/icmp.h", `__u32 length = pkt->end - pkt->l3;`, `__u32 length = pkt->l4 - pkt->l3;`, "errors about a flow would carry 64 KiB", attack("routed/error_about_a_known_flow/too_long")},
	{"attack-error-to-another", 27, "bpf/src/judge.h", `if (is_icmp_error(pkt) && is_related(skb))`, `if (is_icmp_error(pkt) && (is_related(skb) || true))`, "an error would reach a pod that sent nothing", attack("routed/error_about_a_known_flow/to_another_pod")},
	{"attack-error-about-another", 27, "bpf/src/judge.h", `if (is_icmp_error(pkt) && is_related(skb))`, `if (is_icmp_error(pkt) && (is_related(skb) || true))`, "an error would need no flow of its own", attack("routed/error_about_a_known_flow/about_another_port")},
	{"attack-echo", 27, "bpf/src/parse.h", `pkt->sight.starts = icmp_asks(pkt->key.protocol, icmp.type);`, `pkt->sight.starts = 0;`, "a pod's own echo would open it to echoes of others", attack("routed/echo")},
	{"attack-router-advertisement", 27, "bpf/src/neighbour.h", `if (pkt->icmp_type == ND_ROUTER_ADVERTISEMENT || pkt->icmp_type == ND_REDIRECT ||`, `if (pkt->icmp_type == ND_REDIRECT ||`, "a pod could take its neighbours' default route", attack("bridged/stopped/router_advertisement")},
	{"attack-neighbour-redirect", 27, "bpf/src/neighbour.h", `if (pkt->icmp_type == ND_ROUTER_ADVERTISEMENT || pkt->icmp_type == ND_REDIRECT ||`, `if (pkt->icmp_type == ND_ROUTER_ADVERTISEMENT ||`, "a pod could move its neighbours' routes", attack("bridged/stopped/redirect")},
	{"attack-advertised-target", 27, "bpf/src/neighbour.h", `return is_own(pkt->key.ifindex, target);`, `return true;`, "a pod could take over a neighbour's address", attack("bridged/stopped/neighbour_advertisement_for")},
	{"attack-neighbour-source", 27, "bpf/src/neighbour.h", `if (!is_link_local(from) && !is_own(pkt->key.ifindex, from))`, `if (false)`, "a pod could speak as a neighbour", attack("bridged/stopped/neighbour_.*_as_another")},
	{"attack-neighbour-from-afar", 27, "bpf/src/neighbour.h", `pkt->hop_limit != 255 || pkt->has_fragment_header`, `pkt->has_fragment_header`, "what a router has passed on would count as the link's own", attack("bridged/stopped/neighbour_advertisement_from_afar")},
	{"attack-arp", 27, "bpf/src/neighbour.h", `if (is_ipv4_any(pkt->key.local) || is_own(pkt->key.ifindex, pkt->key.local))`, `if (!is_ipv4_any(pkt->key.local))`, "a pod could take over a neighbour's address", attack("bridged/stopped/.*ARP")},
	{"attack-ethertype", 36, "bpf/src/judge.h", `return rule_on_opaque(work, REASON_UNSUPPORTED);`, `return allow(&work->ruling, REASON_NOT_ISOLATED);`, "an isolated pod would speak other EtherTypes", attack("bridged/stopped/another_EtherType")},
	{"attack-broadcast", 36, "bpf/src/judge.h", `if (pkt->key.protocol != PROTO_TCP && is_configuration())`, `if (is_configuration() || skb->pkt_type == 1 /* PACKET_BROADCAST */)`, "a frame to everybody would reach a pod past its policy", attack("bridged/stopped/broadcast")},
	{"attack-reused-address", 21, "bpf/src/track.h", `flow = pkt->sight.unknown ? NULL : flow_find(&pkt->key);`, `flow = (pkt->key.ifindex = 1, flow_find(&pkt->key));`, "a pod would get what belonged to the one that had its address before", attack("routed/address_reused")},
	{"attack-flood", 26, "bpf/src/flowtable.h", `return slot && usage && limit && *usage < *limit;`, `return slot && usage && limit;`, "one pod's flood would evict other pods' connections", attack("routed/flood")},
}
