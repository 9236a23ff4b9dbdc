/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP and IPv6 neighbour discovery. A pod that advertises what is not its own
 * takes over its neighbours' traffic; one router advertisement has taken
 * another pod's default route. */
#ifndef WEIR_NEIGHBOUR_H
#define WEIR_NEIGHBOUR_H

#include "config.h"
#include "lookup.h"
#include "work.h"

static __always_inline bool is_guarded(const struct endpoint *ep)
{
	return source_check && !(ep->flags & EP_FORWARDS);
}

static __always_inline bool is_own(__u32 ifindex, const __u8 *address)
{
	return owner_of(address) == ifindex;
}

static __always_inline bool is_discovery(const struct packet *pkt)
{
	return pkt->shape == SHAPE_IP && pkt->key.protocol == PROTO_ICMPV6 &&
	       pkt->ethertype == bpf_htons(ETHERTYPE_IPV6) && pkt->part != PART_LATER &&
	       pkt->icmp_type >= ND_ROUTER_SOLICITATION && pkt->icmp_type <= ND_REDIRECT;
}

static __always_inline int rule_on_arp(struct __sk_buff *skb, const struct packet *pkt,
				       const struct endpoint *ep)
{
	__u8 header[8] ADDR; /* hardware and protocol type, sizes, operation */

	if (pkt->sight.direction == DIR_INGRESS || !is_guarded(ep))
		return REASON_NEIGHBOUR;
	if (bpf_skb_load_bytes(skb, pkt->l3, header, sizeof(header)))
		return REASON_MALFORMED;
	/* Ethernet and IPv4 only: elsewhere the sender stands at another place. */
	if (word(header, 0) != bpf_htonl(1 << 16 | ETHERTYPE_IPV4) || header[4] != 6 ||
	    header[5] != 4)
		return REASON_NEIGHBOUR_FORGED;
	if (is_ipv4_any(pkt->key.local) || is_own(pkt->key.ifindex, pkt->key.local))
		return REASON_NEIGHBOUR;
	return REASON_NEIGHBOUR_FORGED;
}

static __always_inline bool may_solicit(const struct packet *pkt)
{
	const __u8 *from = pkt->key.local, *to = pkt->key.remote;

	if (is_unspecified(from))
		return (pkt->icmp_type == ND_SOLICITATION && is_solicited_node(to)) ||
		       (pkt->icmp_type == ND_ROUTER_SOLICITATION && is_well_known(to, 2));
	if (!is_link_local(from) && !is_own(pkt->key.ifindex, from))
		return false;
	/* A probe goes to the neighbour itself; hop limit 255 keeps it on the link. */
	return !is_multicast(to) || is_solicited_node(to) || is_well_known(to, 1) ||
	       is_well_known(to, 2);
}

static __always_inline bool may_advertise(const struct packet *pkt, const __u8 *target)
{
	if (is_link_local(target))
		return same_address(target, pkt->key.local);
	return is_own(pkt->key.ifindex, target);
}

static __always_inline int rule_on_discovery_from_pod(struct __sk_buff *skb,
						      const struct packet *pkt)
{
	__u8 target[16] ADDR;

	/* In fragments it is for nobody to believe (RFC 6980). */
	if (pkt->icmp_type == ND_ROUTER_ADVERTISEMENT || pkt->icmp_type == ND_REDIRECT ||
	    pkt->hop_limit != 255 || pkt->has_fragment_header || !may_solicit(pkt))
		return REASON_NEIGHBOUR_FORGED;
	if (pkt->icmp_type == ND_ROUTER_SOLICITATION)
		return REASON_NEIGHBOUR;
	if (pkt->l4 + SIZE_ICMP + sizeof(target) > pkt->end ||
	    bpf_skb_load_bytes(skb, pkt->l4 + SIZE_ICMP, target, sizeof(target)))
		return REASON_MALFORMED;
	if (pkt->icmp_type == ND_ADVERTISEMENT && !may_advertise(pkt, target))
		return REASON_NEIGHBOUR_FORGED;
	return REASON_NEIGHBOUR;
}

/* Routers are the node and what lies behind its uplink, never another pod. A
 * bridge keeps the sender's veth in ingress_ifindex. */
static __always_inline int rule_on_discovery_to_pod(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 from = skb->ingress_ifindex;

	if (pkt->icmp_type != ND_ROUTER_ADVERTISEMENT && pkt->icmp_type != ND_REDIRECT)
		return REASON_NEIGHBOUR;
	return bpf_map_lookup_elem(&endpoints, &from) ? REASON_NEIGHBOUR_FORGED : REASON_NEIGHBOUR;
}

/* The reason, by which it is allowed only if it is REASON_NEIGHBOUR. */
__noinline int rule_on_neighbour(struct __sk_buff *skb)
{
	const struct work *work = current_work();
	const struct packet *pkt;

	if (!work)
		return REASON_UNKNOWN;
	pkt = &work->packet;
	if (pkt->shape == SHAPE_ARP)
		return rule_on_arp(skb, pkt, &work->endpoint);
	if (!is_guarded(&work->endpoint))
		return REASON_NEIGHBOUR;
	if (pkt->sight.direction == DIR_EGRESS)
		return rule_on_discovery_from_pod(skb, pkt);
	return rule_on_discovery_to_pod(skb, pkt);
}

#endif
