/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slow path: one packet, all questions in their order. */
#ifndef WEIR_JUDGE_H
#define WEIR_JUDGE_H

#include "configuration.h"
#include "events.h"
#include "fragments.h"
#include "icmp.h"
#include "parse.h"
#include "source.h"
#include "track.h"

/* TCX_NEXT (6.6) and TC_ACT_UNSPEC: the next program has its turn. Zero would
 * end the chain, and the programs of others would die silently. */
enum outcome {
	PASS = -1,
	DROP = 2,      /* TC_ACT_SHOT */
	UNDECIDED = 1, /* between functions of these programs alone */
};

/* What no policy can allow: another EtherType, a first fragment that hides its
 * ports. */
static __always_inline int rule_on_opaque(struct work *work, __u8 reason)
{
	__u32 direction = work->packet.sight.direction;

	if (is_unpoliced(&work->endpoint, direction, &work->ruling))
		return 0;
	work->ruling.set = set_of(&work->endpoint, direction);
	deny(&work->ruling, reason);
	apply_mode(&work->endpoint, &work->ruling);
	return 0;
}

static __always_inline int settle(struct work *work, __u8 reason)
{
	return reason == REASON_NEIGHBOUR ? allow(&work->ruling, reason)
					  : deny(&work->ruling, reason);
}

static __always_inline int rule_on_ip(struct __sk_buff *skb, struct work *work)
{
	struct packet *pkt = &work->packet;
	int reason;

	if (is_loopback(pkt->key.local) || is_loopback(pkt->key.remote))
		return deny(&work->ruling, REASON_LOOPBACK);
	if (is_discovery(pkt))
		return settle(work, rule_on_neighbour(skb));
	if (pkt->sight.direction == DIR_EGRESS && is_guarded(&work->endpoint)) {
		reason = rule_on_source();
		if (reason)
			return deny(&work->ruling, reason);
	}
	if (pkt->key.protocol != PROTO_TCP && is_configuration())
		return allow(&work->ruling, REASON_CONFIGURATION);
	if (pkt->part == PART_LATER)
		return rule_on_fragment();
	if (pkt->headerless)
		return rule_on_opaque(work, REASON_FRAGMENT);
	if (is_icmp_error(pkt) && is_related(skb))
		return allow(&work->ruling, REASON_RELATED);
	return rule_on_flow(skb);
}

static __always_inline int rule_on_packet(struct __sk_buff *skb, struct work *work)
{
	switch (work->packet.shape) {
	case SHAPE_IP:
		return rule_on_ip(skb, work);
	case SHAPE_ARP:
		return settle(work, rule_on_neighbour(skb));
	case SHAPE_OTHER:
		return rule_on_opaque(work, REASON_UNSUPPORTED);
	default:
		return deny(&work->ruling, REASON_MALFORMED);
	}
}

static __always_inline int conclude(struct work *work)
{
	const struct sight *sight = &work->packet.sight;
	struct ruling *ruling = &work->ruling;

	count_total(sight, ruling->counted ? ruling->counted : ruling->reason);
	if (ruling->verdict != VERDICT_ALLOWED)
		count_dropped(sight, work->packet.key.ifindex, ruling->verdict, ruling->reason);
	if (ruling->verdict == VERDICT_DENIED && !ruling->event)
		ruling->event = EVENT_NEW;
	if (ruling->event)
		tell();
	return ruling->verdict == VERDICT_DENIED ? DROP : PASS;
}

/* Whole packets of known flows in a shape that quick.h leaves: tags, options,
 * extension headers, ICMP, other protocols. Discovery and errors are judged
 * each by itself. */
static __always_inline bool is_carried(const struct packet *pkt)
{
	struct flow *flow;

	if (pkt->shape != SHAPE_IP || pkt->part != PART_WHOLE || is_discovery(pkt) ||
	    is_icmp_error(pkt))
		return false;
	flow = flow_lookup(&pkt->key);
	return flow && flow_carries(flow, &pkt->key, &pkt->sight);
}

static __always_inline struct work *begin(__u32 direction)
{
	struct work *work = current_work();

	if (!work)
		return NULL;
	__builtin_memset(work, 0, sizeof(*work));
	work->ruling.direction = direction;
	work->ruling.initiator = sender_of(direction);
	work->revision = current_revision();
	return work;
}

/* Takes over what quick.h has read. Offsets and the hop limit stay 0: nobody
 * asks for them with TCP, UDP and SCTP in one piece. */
static __always_inline int begin_parsed(const struct flow_key *key, const struct sight *sight)
{
	struct work *work = begin(sight->direction);

	if (!work)
		return DROP;
	work->packet.key = *key;
	work->packet.sight = *sight;
	work->packet.ethertype = bpf_htons(is_ipv4(key->local) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	work->packet.shape = SHAPE_IP;
	return UNDECIDED;
}

/* The packet by the whole parser, and by the flow that is known of it. */
__noinline int begin_unparsed(struct __sk_buff *skb, __u32 direction)
{
	struct work *work = begin(direction);

	if (!work)
		return DROP;
	work->packet.sight.direction = direction;
	work->packet.sight.now = ticks();
	work->packet.sight.epoch = current_epoch();
	parse(skb);
	return is_carried(&work->packet) ? PASS : UNDECIDED;
}

/* The packet of the work that was begun. */
__noinline int judge(struct __sk_buff *skb)
{
	struct work *work = current_work();

	if (!work)
		return DROP;
	read_endpoint(work->packet.key.ifindex, &work->endpoint);
	rule_on_packet(skb, work);
	keep_fragment();
	return conclude(work);
}

#endif
