/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The whole parser: every shape of packet, read with bpf_skb_load_bytes, so
 * that it does not matter how much of the packet is linear (packet sockets
 * and header-split NICs leave 14 bytes). quick.h holds the parser of the
 * common shapes. */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include "work.h"

enum parse_limit {
	MAX_VLAN_TAGS = 2,
	MAX_EXTENSION_HEADERS = 8,
};

enum extension {
	EXTENSION_NONE = 0, /* the transport's header is reached */
	EXTENSION_SEEN = 1,
	EXTENSION_MALFORMED = 2,
};

static __always_inline __u32 transport_size(__be16 ethertype, __u8 protocol)
{
	if (protocol == PROTO_TCP)
		return SIZE_TCP;
	if (protocol == PROTO_UDP)
		return SIZE_UDP;
	if (protocol == PROTO_SCTP)
		return SIZE_SCTP;
	if (protocol == (ethertype == bpf_htons(ETHERTYPE_IPV4) ? PROTO_ICMP : PROTO_ICMPV6))
		return SIZE_ICMP;
	return 0;
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *pkt)
{
	struct {
		__u8 type;
		__u8 code;
		__be16 checksum;
		__be16 identifier;
		__be16 sequence;
	} icmp;

	if (bpf_skb_load_bytes(skb, pkt->l4, &icmp, sizeof(icmp)))
		return SHAPE_MALFORMED;
	pkt->icmp_type = icmp.type;
	pkt->icmp_code = icmp.code;
	pkt->sight.starts = icmp_asks(pkt->key.protocol, icmp.type);
	icmp_ports(&pkt->key, icmp.type, icmp.identifier, sender_of(pkt->sight.direction));
	return SHAPE_IP;
}

static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *pkt)
{
	__be16 ports[2]; /* source, destination */
	bool out = pkt->sight.direction == DIR_EGRESS;

	if (bpf_skb_load_bytes(skb, pkt->l4, ports, sizeof(ports)))
		return SHAPE_MALFORMED;
	pkt->key.local_port = out ? ports[0] : ports[1];
	pkt->key.remote_port = out ? ports[1] : ports[0];
	if (pkt->key.protocol != PROTO_TCP)
		return SHAPE_IP;
	if (bpf_skb_load_bytes(skb, pkt->l4 + 13, &pkt->sight.tcp_flags, 1))
		return SHAPE_MALFORMED;
	pkt->sight.starts = opens_connection(pkt->sight.tcp_flags);
	return SHAPE_IP;
}

static __always_inline int parse_transport(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 size = transport_size(pkt->ethertype, pkt->key.protocol);

	if (pkt->part == PART_LATER || pkt->headerless || !size)
		return SHAPE_IP;
	if (pkt->l4 + size > pkt->end) {
		pkt->headerless = pkt->part == PART_FIRST;
		return pkt->headerless ? SHAPE_IP : SHAPE_MALFORMED;
	}
	return has_ports(pkt->key.protocol) ? parse_ports(skb, pkt) : parse_icmp(skb, pkt);
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *pkt)
{
	struct {
		__u8 version_ihl;
		__u8 tos;
		__be16 total_length;
		__be16 id;
		__be16 fragment; /* flags and offset */
		__u8 ttl;
		__u8 protocol;
		__be16 checksum;
		__be32 source;
		__be32 destination;
	} ip;
	__u32 header, total;

	if (bpf_skb_load_bytes(skb, pkt->l3, &ip, sizeof(ip)))
		return SHAPE_MALFORMED;
	header = (ip.version_ihl & 0xf) * 4;
	total = bpf_ntohs(ip.total_length);
	/* BIG TCP writes 0 for what 16 bits cannot hold (6.3). */
	if (!total && pkt->sight.length > 0xffff)
		total = pkt->sight.length;
	if (ip.version_ihl >> 4 != 4 || header < SIZE_IPV4 || total < header ||
	    total > pkt->sight.length)
		return SHAPE_MALFORMED;

	set_ipv4(source_of(pkt), ip.source);
	set_ipv4(destination_of(pkt), ip.destination);
	pkt->key.protocol = ip.protocol;
	pkt->hop_limit = ip.ttl;
	pkt->l4 = pkt->l3 + header;
	pkt->end = pkt->l3 + total;
	pkt->fragment_id = ip.id;
	pkt->fragment_protocol = ip.protocol;
	pkt->fragment_offset = bpf_ntohs(ip.fragment) & 0x1fff;
	if (pkt->fragment_offset)
		pkt->part = PART_LATER;
	else if (ip.fragment & bpf_htons(0x2000))
		pkt->part = PART_FIRST;
	return SHAPE_IP;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == PROTO_HOP_BY_HOP || protocol == PROTO_ROUTING ||
	       protocol == PROTO_FRAGMENT || protocol == PROTO_AUTHENTICATION ||
	       protocol == PROTO_DESTINATION;
}

/* False: a second one, which no sender has a reason for. */
static __always_inline bool parse_fragment_header(struct packet *pkt, const __u8 *header)
{
	__u16 offset = (__u16)header[2] << 8 | header[3];

	if (pkt->has_fragment_header)
		return false;
	pkt->has_fragment_header = 1;
	pkt->fragment_protocol = header[0];
	pkt->fragment_id = word(header, 1);
	pkt->fragment_offset = offset >> 3;
	if (pkt->fragment_offset)
		pkt->part = PART_LATER;
	else if (offset & 1)
		pkt->part = PART_FIRST;
	return true;
}

/* Moves l4 behind one extension header. A function of its own: so the loop
 * below stays small enough that it is closed by a jump. The compiler may also
 * close a loop by falling into its head, which 5.10 refuses. */
__noinline int parse_extension(struct __sk_buff *skb)
{
	struct work *work = current_work();
	struct packet *pkt;
	__u8 header[8] ADDR;
	__u8 this;

	if (!work)
		return EXTENSION_MALFORMED;
	pkt = &work->packet;
	this = pkt->key.protocol;
	if (!is_extension(this) || pkt->part == PART_LATER)
		return EXTENSION_NONE;
	if (pkt->l4 + sizeof(header) > pkt->end) {
		pkt->headerless = pkt->part == PART_FIRST;
		return pkt->headerless ? EXTENSION_NONE : EXTENSION_MALFORMED;
	}
	if (bpf_skb_load_bytes(skb, pkt->l4, header, sizeof(header)))
		return EXTENSION_MALFORMED;
	pkt->key.protocol = header[0];
	if (this == PROTO_FRAGMENT) {
		pkt->l4 += sizeof(header);
		return parse_fragment_header(pkt, header) ? EXTENSION_SEEN : EXTENSION_MALFORMED;
	}
	pkt->l4 += this == PROTO_AUTHENTICATION ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
	return EXTENSION_SEEN;
}

/* One more than may be, which has to find none. */
static __always_inline int parse_extensions(struct __sk_buff *skb)
{
	int i, seen = EXTENSION_SEEN;

	for (i = 0; i < MAX_EXTENSION_HEADERS + 1; i++) {
		seen = parse_extension(skb);
		if (seen != EXTENSION_SEEN)
			break;
	}
	return seen == EXTENSION_NONE ? SHAPE_IP : SHAPE_MALFORMED;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *pkt)
{
	struct {
		__u8 version_class;
		__u8 flow[3];
		__be16 payload_length;
		__u8 next;
		__u8 hop_limit;
	} ip;
	__u32 total;

	if (bpf_skb_load_bytes(skb, pkt->l3, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, pkt->l3 + 8, source_of(pkt), 16) ||
	    bpf_skb_load_bytes(skb, pkt->l3 + 24, destination_of(pkt), 16))
		return SHAPE_MALFORMED;
	total = SIZE_IPV6 + bpf_ntohs(ip.payload_length);
	/* A jumbogram, as BIG TCP makes them (5.19). */
	if (total == SIZE_IPV6 && pkt->sight.length > SIZE_IPV6 + 0xffff)
		total = pkt->sight.length;
	if (ip.version_class >> 4 != 6 || total > pkt->sight.length)
		return SHAPE_MALFORMED;
	if (is_ipv4(pkt->key.local) || is_ipv4(pkt->key.remote))
		return SHAPE_MALFORMED;

	pkt->key.protocol = ip.next;
	pkt->hop_limit = ip.hop_limit;
	pkt->l4 = pkt->l3 + SIZE_IPV6;
	pkt->end = pkt->l3 + total;
	return parse_extensions(skb);
}

/* Sets the addresses alone; neighbour.h judges. */
static __always_inline int parse_arp(struct __sk_buff *skb, struct packet *pkt)
{
	__be32 sender, target;

	if (pkt->sight.length < SIZE_ARP ||
	    bpf_skb_load_bytes(skb, pkt->l3 + 14, &sender, sizeof(sender)) ||
	    bpf_skb_load_bytes(skb, pkt->l3 + 24, &target, sizeof(target)))
		return SHAPE_MALFORMED;
	set_ipv4(source_of(pkt), sender);
	set_ipv4(destination_of(pkt), target);
	return SHAPE_ARP;
}

static __always_inline bool is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETHERTYPE_VLAN) ||
	       ethertype == bpf_htons(ETHERTYPE_SERVICE_VLAN);
}

/* Moves l3 behind the tags. A packet that ends in a tag has no layer 3. */
static __always_inline bool parse_link(struct __sk_buff *skb, struct packet *pkt)
{
	int i;

	pkt->l3 = SIZE_ETHERNET;
	if (bpf_skb_load_bytes(skb, SIZE_ETHERNET - 2, &pkt->ethertype, 2))
		return false;
	for (i = 0; i < MAX_VLAN_TAGS; i++) {
		if (!is_vlan(pkt->ethertype))
			break;
		if (bpf_skb_load_bytes(skb, pkt->l3 + 2, &pkt->ethertype, 2))
			return false;
		pkt->l3 += SIZE_VLAN;
	}
	pkt->sight.length = skb->len - pkt->l3;
	return true;
}

static __always_inline int parse_network(struct __sk_buff *skb, struct packet *pkt)
{
	if (!parse_link(skb, pkt))
		return SHAPE_MALFORMED;
	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV4))
		return parse_ipv4(skb, pkt);
	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV6))
		return parse_ipv6(skb, pkt);
	if (pkt->ethertype == bpf_htons(ETHERTYPE_ARP))
		return parse_arp(skb, pkt);
	return SHAPE_OTHER;
}

/* Fills the packet of a clean work, of which the direction is known. */
__noinline int parse(struct __sk_buff *skb)
{
	struct work *work = current_work();
	struct packet *pkt;

	if (!work)
		return SHAPE_MALFORMED;
	pkt = &work->packet;
	pkt->key.ifindex = skb->ifindex;
	pkt->sight.segments = segments_of(skb);
	pkt->shape = parse_network(skb, pkt);
	if (pkt->shape == SHAPE_IP)
		pkt->shape = parse_transport(skb, pkt);
	return pkt->shape;
}

#endif
