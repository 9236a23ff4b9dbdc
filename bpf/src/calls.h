/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an isolated pod calls at its own node, which no policy forbids.
 *
 * An address of the node also stands for every client whose source the node
 * has masqueraded. Conntrack knows the client's connection before to_pod
 * denies its packet. If the pod then sends to the port that stands for the
 * client, it seems to call the node, but conntrack takes the packet for the
 * answer and brings it to the client; and the client's next packet seems to
 * answer the pod's call. So these flows (FLOW_CALLS_NODE) never take the fast
 * path, and who really speaks is asked for each packet:
 *
 * - from the pod: from_pod marks it (mark.h). What is marked and is an
 *   answer all the same was begun by another, and is judged after translation
 *   by the address that it then has. Exact for every protocol. Without a hook
 *   there, conntrack is looked up: exact for TCP and UDP from 5.18 on.
 *   Otherwise only what can begin nothing is denied.
 * - to the pod: it was sent by the node's own stack, or conntrack says that it
 *   answers. Without a lookup, what comes from a port that the node translates
 *   is believed, and fragments without an ingress device. */
#ifndef WEIR_CALLS_H
#define WEIR_CALLS_H

#include "conntrack.h"
#include "flowtable.h"
#include "verdict.h"

/* bpf_skb_ct_lookup knows no other. */
static __always_inline bool is_looked_up(__u8 protocol)
{
	return have_conntrack && (protocol == PROTO_TCP || protocol == PROTO_UDP);
}

static __always_inline bool from_translated(const struct flow_key *key)
{
	struct peer peer;

	return read_peer(key->remote, &peer) == READ_FOUND && is_translated(key, peer.flags);
}

/* To the pod: the packet, or the ICMP error, concerns the pod's own call. */
__noinline int answers_call(struct __sk_buff *skb, __u32 subject)
{
	const struct work *work = current_work();
	const struct flow_key *key;

	if (!work)
		return false;
	key = subject == SUBJECT_QUOTED ? &work->quoted : &work->packet.key;
	if (!skb->ingress_ifindex && work->packet.part == PART_WHOLE)
		return true;
	if (is_looked_up(key->protocol))
		return is_tracked_reply(skb, subject, SIDE_REMOTE);
	if (work->packet.part != PART_WHOLE)
		return !skb->ingress_ifindex;
	return from_translated(key);
}

/* From the pod: the packet belongs to what another has begun. */
static __always_inline bool answers_another(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 protocol = pkt->key.protocol;

	if (is_looked_up(protocol))
		return is_tracked_reply(skb, SUBJECT_PACKET, SIDE_LOCAL);
	if (protocol == PROTO_TCP)
		return (pkt->sight.tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
	if (protocol != PROTO_ICMP && protocol != PROTO_ICMPV6)
		return false;
	return icmp_answers(protocol, pkt->icmp_type) ||
	       icmp_reports_error(protocol, pkt->icmp_type);
}

/* An ICMP error about such a flow. */
static __always_inline bool concerns_call(struct __sk_buff *skb, const struct work *work)
{
	if (work->packet.sight.direction == DIR_INGRESS)
		return answers_call(skb, SUBJECT_QUOTED);
	return have_forward_hook || !is_looked_up(work->quoted.protocol) ||
	       !is_tracked_reply(skb, SUBJECT_QUOTED, SIDE_LOCAL);
}

/* The entry may speak for the packet. */
static __always_inline bool is_credible(struct __sk_buff *skb, const struct packet *pkt,
					const struct flow *flow)
{
	if (!(flow->flags & FLOW_CALLS_NODE) || is_cut(flow))
		return true;
	if (pkt->sight.direction == DIR_INGRESS)
		return answers_call(skb, SUBJECT_PACKET);
	return have_forward_hook || !answers_another(skb, pkt);
}

#endif
