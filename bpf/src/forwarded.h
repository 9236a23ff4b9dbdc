/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A parser of packets that the stack forwards: from the network header on,
 * by either of two ways to their bytes. It makes the same keys as parse.h.
 * What it reads was checked by the stack; it only must not trust it. */
#ifndef WEIR_FORWARDED_H
#define WEIR_FORWARDED_H

#include "mark.h"
#include "netfilter.h"
#include "parse.h"

/* One of the two. */
struct reader {
	struct __sk_buff *skb; /* of a socket filter */
	/* Of a netfilter program; NULL: the other. */
	const struct bpf_dynptr *packet;
	const struct sk_buff___weir *whole;
};

/* bpf_dynptr_read: 5.19, and of packets 6.4. */
static __always_inline bool read_at(const struct reader *from, __u32 offset, void *to, __u32 size)
{
	if (from->whole)
		return !bpf_dynptr_read(to, size, from->packet, offset, 0);
	return !bpf_skb_load_bytes(from->skb, offset, to, size);
}

static __always_inline __u32 segments_at(const struct reader *from)
{
	return from->whole ? segments_of_packet(from->whole) : segments_of(from->skb);
}

/* The first words of the packet, from word first to before word end, of which
 * bytes must be there. Read in place, where they are linear: a call of a helper
 * costs as much as all the rest that this hook does to a settled packet. */
static __always_inline bool read_head(const struct reader *from, address_word *head, int first,
				      int end, __u32 bytes)
{
	const struct sk_buff___weir *whole = from->whole;
	const struct in6_addr___weir *four = NULL;
	int i;

	if (!whole)
		return !bpf_skb_load_bytes(from->skb, first * sizeof(*head), head + first,
					   bytes - first * sizeof(*head));
	if (bytes > whole->len - whole->data_len)
		return false;
#pragma unroll
	for (i = first; i < end; i++) {
		if (i == first || i % 4 == 0)
			four = four_words(whole->data + i / 4 * sizeof(*four));
		head[i] = four->in6_u.u6_addr32[i % 4];
	}
	return true;
}

/* from_pod has settled it, and its destination is as it was. */
static __always_inline bool is_marked(const struct reader *from, const struct flow_key *key)
{
	__u16 mark = from->whole ? mark_of(from->whole) : from->skb->tc_index;

	return mark && mark == settled_mark(key);
}

/* Of the network and transport headers. */
enum common_size {
	COMMON_PORTS = 8,  /* of layer 4, to the end of the ports and more: the least of all */
	COMMON_FLAGS = 14, /* to the flags of TCP */
	COMMON_IPV4 = SIZE_IPV4 + COMMON_PORTS,
	COMMON_IPV6 = SIZE_IPV6 + COMMON_PORTS,
	COMMON_WORDS = (SIZE_IPV6 + COMMON_FLAGS + 3) / 4,
};

/* l4: where layer 4 begins, a whole number of words. */
static __always_inline bool read_common_transport(const struct reader *from, address_word *head,
						  int l4, struct flow_key *key, struct sight *sight)
{
	const int flags = (l4 + COMMON_FLAGS - 1) / 4;

	*(address_word *)&key->local_port = head[l4 / 4];
	if (key->protocol == PROTO_TCP) {
		if (!read_head(from, head, flags, flags + 1, l4 + COMMON_FLAGS))
			return false;
		sight->tcp_flags = ((const __u8 *)head)[l4 + COMMON_FLAGS - 1];
		sight->starts = opens_connection(sight->tcp_flags);
		return sight->length >= l4 + SIZE_TCP;
	}
	return key->protocol == PROTO_UDP || key->protocol == PROTO_SCTP;
}

/* The key of a packet in a common shape, all but the interface. False to all
 * others, which are read again. */
static __always_inline bool read_common(const struct reader *from, struct flow_key *key,
					struct sight *sight)
{
	address_word words[COMMON_WORDS];
	const __u8 *head = (const __u8 *)words;

	if (!read_head(from, words, 0, COMMON_IPV4 / 4, COMMON_IPV4))
		return false;
	if (head[0] == 0x45) {
		if (words[1] & bpf_htonl(0x3fff))
			return false;
		set_ipv4(key->local, words[3]);
		set_ipv4(key->remote, words[4]);
		*(address_word *)&key->protocol = head[9];
		return read_common_transport(from, words, SIZE_IPV4, key, sight);
	}
	if (head[0] >> 4 != 6 ||
	    !read_head(from, words, COMMON_IPV4 / 4, COMMON_IPV6 / 4, COMMON_IPV6))
		return false;
	copy_address(key->local, head + 8);
	copy_address(key->remote, head + 24);
	*(address_word *)&key->protocol = head[6];
	return read_common_transport(from, words, SIZE_IPV6, key, sight);
}

static __always_inline bool read_ipv4(const struct reader *from, struct packet *pkt)
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

	if (!read_at(from, 0, &ip, sizeof(ip)))
		return false;
	set_ipv4(pkt->key.local, ip.source);
	set_ipv4(pkt->key.remote, ip.destination);
	pkt->ethertype = bpf_htons(ETHERTYPE_IPV4);
	pkt->key.protocol = ip.protocol;
	pkt->hop_limit = ip.ttl;
	pkt->l4 = (ip.version_ihl & 0xf) * 4;
	if (ip.fragment & bpf_htons(0x1fff))
		pkt->part = PART_LATER;
	else if (ip.fragment & bpf_htons(0x2000))
		pkt->part = PART_FIRST;
	return true;
}

static __always_inline bool read_ipv6(const struct reader *from, struct packet *pkt)
{
	__u8 next[2]; /* header, and the hop limit */

	if (!read_at(from, 6, next, sizeof(next)) || !read_at(from, 8, pkt->key.local, 16) ||
	    !read_at(from, 24, pkt->key.remote, 16))
		return false;
	pkt->ethertype = bpf_htons(ETHERTYPE_IPV6);
	pkt->key.protocol = next[0];
	pkt->hop_limit = next[1];
	pkt->l4 = SIZE_IPV6;
	return true;
}

static __always_inline bool read_addresses(const struct reader *from, struct packet *pkt)
{
	__u8 first;

	pkt->end = pkt->sight.length;
	if (!read_at(from, 0, &first, 1))
		return false;
	return first >> 4 == 4 ? read_ipv4(from, pkt) : first >> 4 == 6 && read_ipv6(from, pkt);
}

/* Moves l4 behind one extension header. */
static __always_inline int skip_extension(const struct reader *from, struct packet *pkt)
{
	__u8 this = pkt->key.protocol;
	__u8 header[8] ADDR;

	if (!is_extension(this) || pkt->part == PART_LATER)
		return EXTENSION_NONE;
	if (!read_at(from, pkt->l4, header, sizeof(header)))
		return EXTENSION_MALFORMED;
	pkt->key.protocol = header[0];
	if (this == PROTO_FRAGMENT) {
		pkt->l4 += sizeof(header);
		return parse_fragment_header(pkt, header) ? EXTENSION_SEEN : EXTENSION_MALFORMED;
	}
	pkt->l4 += this == PROTO_AUTHENTICATION ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
	return EXTENSION_SEEN;
}

/* Unrolled: 5.10 refuses a loop that the compiler closes by falling into its
 * head. */
static __always_inline int skip_extensions(const struct reader *from, struct packet *pkt)
{
	int i, seen = EXTENSION_SEEN;

#pragma unroll
	for (i = 0; i < MAX_EXTENSION_HEADERS + 1; i++) {
		if (seen == EXTENSION_SEEN)
			seen = skip_extension(from, pkt);
	}
	return seen == EXTENSION_NONE ? SHAPE_IP : SHAPE_MALFORMED;
}

static __always_inline int read_icmp(const struct reader *from, struct packet *pkt)
{
	__be16 head[3] ADDR; /* type and code, checksum, identifier */

	if (!read_at(from, pkt->l4, head, sizeof(head)))
		return SHAPE_MALFORMED;
	pkt->icmp_type = ((const __u8 *)head)[0];
	pkt->icmp_code = ((const __u8 *)head)[1];
	pkt->sight.starts = icmp_asks(pkt->key.protocol, pkt->icmp_type);
	icmp_ports(&pkt->key, pkt->icmp_type, head[2], SIDE_LOCAL);
	return SHAPE_IP;
}

static __always_inline int read_ports(const struct reader *from, struct packet *pkt)
{
	__be16 ports[2] ADDR;

	if (!read_at(from, pkt->l4, ports, sizeof(ports)))
		return SHAPE_MALFORMED;
	pkt->key.local_port = ports[0];
	pkt->key.remote_port = ports[1];
	if (pkt->key.protocol != PROTO_TCP)
		return SHAPE_IP;
	if (!read_at(from, pkt->l4 + 13, &pkt->sight.tcp_flags, 1))
		return SHAPE_MALFORMED;
	pkt->sight.starts = opens_connection(pkt->sight.tcp_flags);
	return SHAPE_IP;
}

static __always_inline int read_transport(const struct reader *from, struct packet *pkt)
{
	__u32 size;

	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV6) && skip_extensions(from, pkt) != SHAPE_IP)
		return SHAPE_MALFORMED;
	size = transport_size(pkt->ethertype, pkt->key.protocol);
	if (pkt->part == PART_LATER || !size)
		return SHAPE_IP;
	if (pkt->l4 + size > pkt->end) {
		pkt->headerless = pkt->part == PART_FIRST;
		return pkt->headerless ? SHAPE_IP : SHAPE_MALFORMED;
	}
	return has_ports(pkt->key.protocol) ? read_ports(from, pkt) : read_icmp(from, pkt);
}

/* A pod tells the sender of a packet to itself: the quoted source is the
 * remote side. at: where the quoted layer 4 begins. */
static __always_inline bool read_quoted_ports(const struct reader *from, __u32 at,
					      struct flow_key *key)
{
	__be16 head[3] ADDR;

	if (has_ports(key->protocol)) {
		if (!read_at(from, at, head, 4))
			return false;
		key->remote_port = head[0];
		key->local_port = head[1];
		return true;
	}
	if (key->protocol != PROTO_ICMP && key->protocol != PROTO_ICMPV6)
		return true;
	if (!read_at(from, at, head, sizeof(head)))
		return false;
	icmp_ports(key, ((const __u8 *)head)[0], head[2], SIDE_REMOTE);
	return true;
}

static __always_inline bool read_quoted_ipv4(const struct reader *from, __u32 at,
					     struct flow_key *key)
{
	__u8 head[SIZE_IPV4] ADDR;
	__u32 size;

	if (!read_at(from, at, head, sizeof(head)))
		return false;
	size = (head[0] & 0xf) * 4;
	if (head[0] >> 4 != 4 || size < SIZE_IPV4 || word(head, 1) & bpf_htonl(0x1fff))
		return false;
	key->protocol = head[9];
	set_ipv4(key->remote, word(head, 3));
	set_ipv4(key->local, word(head, 4));
	return read_quoted_ports(from, at + size, key);
}

static __always_inline bool read_quoted_ipv6(const struct reader *from, __u32 at,
					     struct flow_key *key)
{
	__u8 head[8] ADDR;

	if (!read_at(from, at, head, sizeof(head)) || !read_at(from, at + 8, key->remote, 16) ||
	    !read_at(from, at + 24, key->local, 16))
		return false;
	if (head[0] >> 4 != 6 || is_ipv4(key->local) || is_ipv4(key->remote))
		return false;
	key->protocol = head[6];
	return read_quoted_ports(from, at + SIZE_IPV6, key);
}

/* The flow that an ICMP error is about; the limits of icmp.h were applied by
 * from_pod to the packet as it was sent. */
static __always_inline bool read_quoted(const struct reader *from, struct work *work)
{
	const struct packet *pkt = &work->packet;

	work->quoted.ifindex = pkt->key.ifindex;
	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV4))
		return read_quoted_ipv4(from, pkt->l4 + SIZE_ICMP, &work->quoted);
	return read_quoted_ipv6(from, pkt->l4 + SIZE_ICMP, &work->quoted);
}

#endif
