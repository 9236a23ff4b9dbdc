/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors about flows that are known: path MTU must work through a
 * default deny. */
#ifndef WEIR_ICMP_H
#define WEIR_ICMP_H

#include "calls.h"
#include "flowtable.h"
#include "neighbour.h"

enum error_limit {
	MAX_ERROR_IPV4 = 576, /* bytes of the whole IP packet */
	MAX_ERROR_IPV6 = 1280,
};

/* Where the two ends of a quoted packet go in the key: a pod is told of what
 * it sent, and tells of what it received. */
static __always_inline __u8 *quoted_source(struct flow_key *key, __u32 direction)
{
	return direction == DIR_INGRESS ? key->local : key->remote;
}

static __always_inline __u8 *quoted_destination(struct flow_key *key, __u32 direction)
{
	return direction == DIR_INGRESS ? key->remote : key->local;
}

/* The quoted layer 4 begins at offset. */
static __always_inline bool parse_quoted_ports(struct __sk_buff *skb, const struct packet *pkt,
					       __u32 offset, struct flow_key *key)
{
	bool told = pkt->sight.direction == DIR_INGRESS;
	__be16 head[2];
	__be16 identifier;

	if (key->protocol != PROTO_ICMP && key->protocol != PROTO_ICMPV6 &&
	    !has_ports(key->protocol))
		return true;
	if (offset + sizeof(head) > pkt->end || bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
		return false;
	if (has_ports(key->protocol)) {
		key->local_port = told ? head[0] : head[1];
		key->remote_port = told ? head[1] : head[0];
		return true;
	}
	if (offset + 6 > pkt->end ||
	    bpf_skb_load_bytes(skb, offset + 4, &identifier, sizeof(identifier)))
		return false;
	icmp_ports(key, ((const __u8 *)head)[0], identifier, told ? SIDE_LOCAL : SIDE_REMOTE);
	return true;
}

static __always_inline bool parse_quoted_ipv4(struct __sk_buff *skb, const struct packet *pkt,
					      struct flow_key *key)
{
	__u32 offset = pkt->l4 + SIZE_ICMP;
	__u8 head[12] ADDR; /* up to the addresses */
	__be32 address[2];
	__u32 size;

	if (offset + SIZE_IPV4 > pkt->end || bpf_skb_load_bytes(skb, offset, head, sizeof(head)) ||
	    bpf_skb_load_bytes(skb, offset + 12, address, sizeof(address)))
		return false;
	size = (head[0] & 0xf) * 4;
	/* A later fragment quotes no ports. */
	if (head[0] >> 4 != 4 || size < SIZE_IPV4 || word(head, 1) & bpf_htonl(0x1fff))
		return false;
	key->protocol = head[9];
	set_ipv4(quoted_source(key, pkt->sight.direction), address[0]);
	set_ipv4(quoted_destination(key, pkt->sight.direction), address[1]);
	return parse_quoted_ports(skb, pkt, offset + size, key);
}

static __always_inline bool parse_quoted_ipv6(struct __sk_buff *skb, const struct packet *pkt,
					      struct flow_key *key)
{
	__u32 offset = pkt->l4 + SIZE_ICMP;
	__u32 direction = pkt->sight.direction;
	__u8 head[8] ADDR;

	if (offset + SIZE_IPV6 > pkt->end || bpf_skb_load_bytes(skb, offset, head, sizeof(head)) ||
	    bpf_skb_load_bytes(skb, offset + 8, quoted_source(key, direction), 16) ||
	    bpf_skb_load_bytes(skb, offset + 24, quoted_destination(key, direction), 16))
		return false;
	if (head[0] >> 4 != 6 || is_ipv4(key->local) || is_ipv4(key->remote))
		return false;
	key->protocol = head[6];
	return parse_quoted_ports(skb, pkt, offset + SIZE_IPV6, key);
}

static __always_inline bool parse_quoted(struct __sk_buff *skb, const struct packet *pkt,
					 struct flow_key *key)
{
	__u32 length = pkt->end - pkt->l3;

	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV4))
		return length <= MAX_ERROR_IPV4 && parse_quoted_ipv4(skb, pkt, key);
	return length <= MAX_ERROR_IPV6 && parse_quoted_ipv6(skb, pkt, key);
}

/* To a pod: it is told of its own packet. From a pod: it tells the sender, of
 * a packet to itself. */
static __always_inline bool is_addressed_right(const struct packet *pkt, const struct endpoint *ep,
					       const struct flow_key *key)
{
	if (pkt->sight.direction == DIR_INGRESS)
		return same_address(key->local, pkt->key.local);
	return same_address(key->remote, pkt->key.remote) &&
	       (!is_guarded(ep) || is_own(pkt->key.ifindex, key->local));
}

static __always_inline bool is_icmp_error(const struct packet *pkt)
{
	return pkt->part == PART_WHOLE && icmp_reports_error(pkt->key.protocol, pkt->icmp_type);
}

/* The flow's own next packet will store what policy says now; here it is only
 * asked. */
static __always_inline bool still_passes(struct work *work, const struct flow *flow)
{
	struct ruling before = work->ruling;
	bool passes;

	if (flow->epoch == work->packet.sight.epoch || !recheck_existing ||
	    flow->flags & FLOW_STICKY)
		return true;
	rule_on(SUBJECT_QUOTED, direction_of(flow->initiator), ARRIVED_OTHERWISE);
	apply_mode(&work->endpoint, &work->ruling);
	passes = work->ruling.verdict != VERDICT_DENIED;
	work->ruling = before;
	return passes;
}

__noinline int is_related(struct __sk_buff *skb)
{
	struct work *work = current_work();
	const struct flow *flow;
	struct packet *pkt;

	if (!work)
		return false;
	pkt = &work->packet;
	work->quoted.ifindex = pkt->key.ifindex;
	if (!parse_quoted(skb, pkt, &work->quoted) ||
	    !is_addressed_right(pkt, &work->endpoint, &work->quoted))
		return false;
	flow = flow_find(&work->quoted);
	if (!flow || is_cut(flow) || flow_expired(flow, work->quoted.protocol, pkt->sight.now) ||
	    !still_passes(work, flow))
		return false;
	mark_call(skb, pkt, flow->flags);
	return !(flow->flags & FLOW_CALLS_NODE) || concerns_call(skb, work);
}

#endif
