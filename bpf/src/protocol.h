/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers of protocols, and what follows from them alone. Numbers are named
 * here, not included, so that the object does not depend on the age of the
 * build machine's headers. */
#ifndef WEIR_PROTOCOL_H
#define WEIR_PROTOCOL_H

#include <stdbool.h>
#include <linux/types.h>

#include "types.h"

enum ethertype {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_SERVICE_VLAN = 0x88a8,
};

enum protocol {
	PROTO_HOP_BY_HOP = 0,
	PROTO_ICMP = 1,
	PROTO_IGMP = 2,
	PROTO_IPIP = 4,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IPV6 = 41,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_GRE = 47,
	PROTO_AUTHENTICATION = 51,
	PROTO_ICMPV6 = 58,
	PROTO_DESTINATION = 60,
	PROTO_ETHERIP = 97,
	PROTO_SCTP = 132,
};

enum header_size {
	SIZE_ETHERNET = 14,
	SIZE_VLAN = 4,
	SIZE_ARP = 28,
	SIZE_IPV4 = 20,
	SIZE_IPV6 = 40,
	SIZE_TCP = 20,
	SIZE_UDP = 8,
	SIZE_SCTP = 12,
	SIZE_ICMP = 8,
};

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

enum icmp_type {
	ICMP_REPLY = 0,
	ICMP_UNREACHABLE = 3,
	ICMP_REQUEST = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER = 12,
	ICMP_TIMESTAMP = 13,
	ICMP_MASK_REPLY = 18,
};

enum icmpv6_type {
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_PARAMETER = 4,
	ICMPV6_REQUEST = 128,
	ICMPV6_REPLY = 129,
	MLD_QUERY = 130,
	MLD_DONE = 132,
	ND_ROUTER_SOLICITATION = 133,
	ND_ROUTER_ADVERTISEMENT = 134,
	ND_SOLICITATION = 135,
	ND_ADVERTISEMENT = 136,
	ND_REDIRECT = 137,
	MLD2_REPORT = 143,
};

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP || protocol == PROTO_SCTP;
}

static __always_inline __u8 other_side(__u8 side)
{
	return side == SIDE_LOCAL ? SIDE_REMOTE : SIDE_LOCAL;
}

/* Who sends packets of this direction. */
static __always_inline __u8 sender_of(__u32 direction)
{
	return direction == DIR_EGRESS ? SIDE_LOCAL : SIDE_REMOTE;
}

/* The direction whose policy speaks of a flow that this side began. */
static __always_inline __u32 direction_of(__u8 initiator)
{
	return initiator == SIDE_LOCAL ? DIR_EGRESS : DIR_INGRESS;
}

/* A SYN without ACK, and nothing else, asks for a new connection: a SYN with
 * ACK answers one, and without an entry counts as the middle of it. */
static __always_inline bool opens_connection(__u8 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Timestamp, information and address mask: request and reply are 13 and 14,
 * 15 and 16, 17 and 18. */
static __always_inline bool icmp_asks(__u8 protocol, __u8 type)
{
	if (protocol == PROTO_ICMPV6)
		return type == ICMPV6_REQUEST;
	return type == ICMP_REQUEST ||
	       (type >= ICMP_TIMESTAMP && type < ICMP_MASK_REPLY && (type & 1));
}

static __always_inline bool icmp_answers(__u8 protocol, __u8 type)
{
	if (protocol == PROTO_ICMPV6)
		return type == ICMPV6_REPLY;
	return type == ICMP_REPLY ||
	       (type > ICMP_TIMESTAMP && type <= ICMP_MASK_REPLY && !(type & 1));
}

/* The request that a reply of this type answers. */
static __always_inline __u8 icmp_request(__u8 protocol, __u8 reply)
{
	if (protocol == PROTO_ICMPV6)
		return ICMPV6_REQUEST;
	return reply == ICMP_REPLY ? ICMP_REQUEST : reply - 1;
}

static __always_inline bool icmp_reports_error(__u8 protocol, __u8 type)
{
	if (protocol == PROTO_ICMPV6)
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER;
	return protocol == PROTO_ICMP &&
	       (type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER);
}

#endif
