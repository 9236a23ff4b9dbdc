/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parser of the fast path: TCP, UDP and SCTP right behind a plain IPv4 or
 * IPv6 header, read directly. It says "not mine" to everything else, and to
 * whatever looks wrong; parse.h then has the last word. */
#ifndef WEIR_QUICK_H
#define WEIR_QUICK_H

#include "packet.h"

enum quick_limit {
	QUICK_LEAST = SIZE_ETHERNET + SIZE_IPV4 + SIZE_UDP, /* of any packet that is read here */
	QUICK_LINEAR = SIZE_ETHERNET + SIZE_IPV6 + SIZE_TCP,
};

/* Whole words: the lookup reads the key by words right after this, and a load
 * over two stores waits until both have left the store buffer. Little endian
 * only, as is the object. */
static __always_inline void set_ports(struct flow_key *key, __u32 ports, bool out)
{
	*(address_word *)&key->local_port = out ? ports : ports >> 16 | ports << 16;
}

static __always_inline void set_protocol(struct flow_key *key, __u8 protocol)
{
	*(address_word *)&key->protocol = protocol;
}

/* Layer 4 lies at l3 + header. One check covers its first 8 bytes before any
 * branch on the protocol: a verifier once refused port reads that the compiler
 * had merged from two branches with different bounds. */
static __always_inline bool quick_transport(const void *l4, const void *data_end, __u32 size,
					    struct flow_key *key, struct sight *sight)
{
	__u8 protocol = key->protocol;

	if (l4 + 8 > data_end)
		return false;
	set_ports(key, *(const address_word *)l4, sight->direction == DIR_EGRESS);
	if (protocol == PROTO_TCP) {
		if (l4 + 14 > data_end || size < SIZE_TCP)
			return false;
		sight->tcp_flags = ((const __u8 *)l4)[13];
		sight->starts = opens_connection(sight->tcp_flags);
		return true;
	}
	if (protocol == PROTO_UDP)
		return size >= SIZE_UDP;
	return protocol == PROTO_SCTP && size >= SIZE_SCTP;
}

static __always_inline bool quick_ipv4(const void *l3, const void *data_end, struct flow_key *key,
				       struct sight *sight)
{
	const __u8 *ip = l3;
	bool out = sight->direction == DIR_EGRESS;
	__u32 total;

	if (l3 + SIZE_IPV4 > data_end || ip[0] != 0x45)
		return false;
	total = bpf_ntohs(*(const __be16 *)(l3 + 2));
	if (*(const __be16 *)(l3 + 6) & bpf_htons(0x3fff) || total > sight->length ||
	    total < SIZE_IPV4)
		return false;
	set_ipv4(key->local, *(const __be32 *)(l3 + (out ? 12 : 16)));
	set_ipv4(key->remote, *(const __be32 *)(l3 + (out ? 16 : 12)));
	set_protocol(key, ip[9]);
	return quick_transport(l3 + SIZE_IPV4, data_end, total - SIZE_IPV4, key, sight);
}

static __always_inline bool quick_ipv6(const void *l3, const void *data_end, struct flow_key *key,
				       struct sight *sight)
{
	const __u8 *ip = l3;
	bool out = sight->direction == DIR_EGRESS;
	__u32 payload;

	if (l3 + SIZE_IPV6 > data_end || ip[0] >> 4 != 6)
		return false;
	payload = bpf_ntohs(*(const __be16 *)(l3 + 4));
	if (payload + SIZE_IPV6 > sight->length)
		return false;
	copy_address(key->local, l3 + (out ? 8 : 24));
	copy_address(key->remote, l3 + (out ? 24 : 8));
	if (is_ipv4(key->local) || is_ipv4(key->remote))
		return false;
	set_protocol(key, ip[6]);
	return quick_transport(l3 + SIZE_IPV6, data_end, payload, key, sight);
}

static __always_inline bool quick_parse(struct __sk_buff *skb, struct flow_key *key,
					struct sight *sight)
{
	const void *data = (const void *)(long)skb->data;
	const void *data_end = (const void *)(long)skb->data_end;
	__be16 ethertype;

	/* Packet sockets and NICs that split headers leave too little linear; the
	 * stack would pull these bytes in any case. Not asked where headers are
	 * there and only the payload lies elsewhere, as in all that TCP sends: a
	 * pull copies the head of each clone, which costs more than all the rest. */
	if (data + QUICK_LEAST > data_end && skb->len > skb->data_end - skb->data) {
		bpf_skb_pull_data(skb, skb->len < QUICK_LINEAR ? skb->len : QUICK_LINEAR);
		data = (const void *)(long)skb->data;
		data_end = (const void *)(long)skb->data_end;
	}
	if (data + SIZE_ETHERNET > data_end)
		return false;
	sight->length = skb->len - SIZE_ETHERNET;
	ethertype = *(const __be16 *)(data + SIZE_ETHERNET - 2);
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		return quick_ipv4(data + SIZE_ETHERNET, data_end, key, sight);
	if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		return quick_ipv6(data + SIZE_ETHERNET, data_end, key, sight);
	return false;
}

#endif
