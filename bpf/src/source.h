/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What no pod may send, whatever its policy says: packets with a source that
 * is not its own, and encapsulated ones to the node. */
#ifndef WEIR_SOURCE_H
#define WEIR_SOURCE_H

#include "neighbour.h"

static __always_inline bool is_listener_report(const struct packet *pkt)
{
	return pkt->key.protocol == PROTO_ICMPV6 && pkt->part == PART_WHOLE &&
	       pkt->ethertype == bpf_htons(ETHERTYPE_IPV6) && pkt->hop_limit == 1 &&
	       ((pkt->icmp_type >= MLD_QUERY && pkt->icmp_type <= MLD_DONE) ||
		pkt->icmp_type == MLD2_REPORT);
}

/* Multicast listener discovery, either way. */
static __always_inline bool is_listener_traffic(struct packet *pkt)
{
	const __u8 *from = source_of(pkt);

	return is_listener_report(pkt) && (is_link_local(from) || is_unspecified(from)) &&
	       is_link_multicast(destination_of(pkt));
}

/* 0.0.0.0:68 to 255.255.255.255:67 */
static __always_inline bool is_dhcp_request(const struct packet *pkt)
{
	return pkt->key.protocol == PROTO_UDP && pkt->part == PART_WHOLE &&
	       pkt->key.local_port == bpf_htons(68) && pkt->key.remote_port == bpf_htons(67) &&
	       is_ipv4_any(pkt->key.local) && is_broadcast(pkt->key.remote);
}

/* Duplicate address detection is judged before this, in neighbour.h. */
static __always_inline bool is_spoofed(struct packet *pkt)
{
	const __u8 *from = pkt->key.local, *to = pkt->key.remote;

	if (is_own(pkt->key.ifindex, from))
		return false;
	if (is_link_local(from))
		return !is_link_local(to) && !is_link_multicast(to);
	if (is_unspecified(from))
		return !is_listener_traffic(pkt);
	return !is_dhcp_request(pkt);
}

static __always_inline bool is_tunnel_port(__be16 port)
{
	struct port_key key = {.port = port, .protocol = PROTO_UDP};

	return bpf_map_lookup_elem(&tunnels, &key);
}

static __always_inline bool is_encapsulation(__u8 protocol)
{
	return protocol == PROTO_IPIP || protocol == PROTO_IPV6 || protocol == PROTO_GRE ||
	       protocol == PROTO_ETHERIP;
}

/* The node may take this off and believe what is inside. Each of its devices
 * has a link-local address, and a new device's is known late. */
static __always_inline bool reaches_tunnels(const struct packet *pkt)
{
	const __u8 *to = pkt->key.remote;
	struct peer peer;

	if (is_multicast(to) || is_broadcast(to) || is_link_local(to))
		return true;
	return read_peer(to, &peer) == READ_MIXED || peer.flags & PEER_NODE;
}

/* 0, or why the packet is denied. */
__noinline int rule_on_source(void)
{
	struct work *work = current_work();
	struct packet *pkt;
	__u8 protocol;

	if (!work)
		return REASON_SPOOFED;
	pkt = &work->packet;
	protocol = pkt->key.protocol;
	if (is_spoofed(pkt))
		return REASON_SPOOFED;
	if (protocol == PROTO_TCP || !reaches_tunnels(pkt))
		return 0;
	if (is_encapsulation(protocol))
		return REASON_OVERLAY;
	/* The port may hide behind the extension headers of the next fragment. */
	if (pkt->headerless)
		return REASON_FRAGMENT;
	if (protocol == PROTO_UDP && pkt->part != PART_LATER &&
	    is_tunnel_port(pkt->key.remote_port))
		return REASON_OVERLAY;
	return 0;
}

#endif
