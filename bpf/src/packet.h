/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs know of one packet. */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "maps.h"
#include "protocol.h"

/* The zero value denies. */
enum shape {
	SHAPE_MALFORMED = 0,
	SHAPE_IP = 1,
	SHAPE_ARP = 2,
	SHAPE_OTHER = 3, /* another EtherType */
};

enum part {
	PART_WHOLE = 0,
	PART_FIRST = 1, /* of several fragments */
	PART_LATER = 2,
};

/* What a flow entry takes from a packet. */
struct sight {
	__u32 now;      /* ticks */
	__u32 epoch;    /* read before the endpoint */
	__u32 length;   /* bytes, layer 3 up */
	__u32 segments; /* of GSO; at least 1 */
	__u8 direction; /* enum direction */
	__u8 tcp_flags;
	__u8 starts;  /* asks for something new: TCP SYN, ICMP request */
	__u8 unknown; /* there is no flow entry; 0: nobody has looked */
};

struct packet {
	struct flow_key key; /* as the pod sees it; zero where nothing was parsed */
	struct sight sight;
	__u32 l3; /* offsets from the link header, in bytes */
	__u32 l4;
	__u32 end;             /* of the IP packet; Ethernet may pad behind it */
	__u32 fragment_id;     /* network, IPv4: 16 bits of it */
	__be16 ethertype;      /* network */
	__u16 fragment_offset; /* host, units of 8 bytes */
	__u8 shape;
	__u8 part;
	__u8 fragment_protocol; /* same in all fragments of a packet */
	__u8 has_fragment_header;
	__u8 headerless; /* a first fragment without the whole layer-4 header */
	__u8 hop_limit;
	__u8 icmp_type;
	__u8 icmp_code;
};

static __always_inline __u8 *source_of(struct packet *pkt)
{
	return pkt->sight.direction == DIR_EGRESS ? pkt->key.local : pkt->key.remote;
}

static __always_inline __u8 *destination_of(struct packet *pkt)
{
	return pkt->sight.direction == DIR_EGRESS ? pkt->key.remote : pkt->key.local;
}

/* AF_PACKET and virtio may hand over GSO packets that nobody counted. */
static __always_inline __u32 segments_of(const struct __sk_buff *skb)
{
	__u32 segments = skb->gso_segs;

	return segments ? segments : 1;
}

static __always_inline __u32 current_epoch(void)
{
	__u32 zero = 0;
	const __u32 *current = bpf_map_lookup_elem(&epoch, &zero);

	return current ? *(const volatile __u32 *)current : 0;
}

static __always_inline __u32 current_revision(void)
{
	__u32 zero = 0;
	const __u32 *current = bpf_map_lookup_elem(&revision, &zero);

	return current ? *(const volatile __u32 *)current : 0;
}

static __always_inline __u32 ticks(void)
{
	return (__u32)bpf_jiffies64();
}

/* The ports of a flow key for an ICMP message of this sender. A request and
 * its reply give the same key, a request of the other side another one. */
static __always_inline void icmp_ports(struct flow_key *key, __u8 type, __be16 identifier,
				       __u8 sender)
{
	__be16 asker_port = 0, other_port = bpf_htons(type);
	__u8 asker = sender;

	if (icmp_asks(key->protocol, type)) {
		asker_port = identifier;
	} else if (icmp_answers(key->protocol, type)) {
		asker = other_side(sender);
		asker_port = identifier;
		other_port = bpf_htons(icmp_request(key->protocol, type));
	}
	key->local_port = asker == SIDE_LOCAL ? asker_port : other_port;
	key->remote_port = asker == SIDE_LOCAL ? other_port : asker_port;
}

#endif
