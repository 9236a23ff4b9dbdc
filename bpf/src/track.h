/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets that the fast path leaves: new flows, flows of an old epoch, cut
 * ones, and TCP in the middle of a connection that nobody saw begin. */
#ifndef WEIR_TRACK_H
#define WEIR_TRACK_H

#include "calls.h"
#include "denials.h"
#include "flowtable.h"
#include "mark.h"
#include "neighbour.h"
#include "verdict.h"

static __always_inline __u32 arrival_of(struct __sk_buff *skb, const struct packet *pkt)
{
	/* Reassembled and flooded IPv6 fragments arrive with 0 from anywhere. */
	if (pkt->part != PART_WHOLE)
		return ARRIVED_OTHERWISE;
	if (!skb->ingress_ifindex)
		return ARRIVED_FROM_STACK;
	return skb->ingress_ifindex == pkt->key.ifindex ? ARRIVED_FROM_POD : ARRIVED_OTHERWISE;
}

/* Tombstones live on from their last packet. */
static __always_inline void touch(struct flow *flow, const struct sight *sight)
{
	if (sight->direction == DIR_EGRESS)
		flow->last_tx = sight->now;
	else
		flow->last_rx = sight->now;
}

static __always_inline void store_ruling(struct flow *flow, const struct ruling *ruling,
					 __u32 epoch)
{
	flow->set = ruling->set;
	flow->rule = ruling->rule;
	flow->reason = ruling->reason;
	flow->flags =
		(flow->flags & (FLOW_ANSWERED | FLOW_MIDSTREAM | FLOW_TRANSLATED | FLOW_FOREIGN)) |
		ruling->flow_flags;
	flow->verdict = ruling->verdict;
	flow->epoch = epoch;
}

/* The flow is denied now. */
static __always_inline void cut(struct flow *flow, struct ruling *ruling, __u32 epoch)
{
	if (!is_cut(flow))
		ruling->event = EVENT_REVOKED;
	ruling->reason = REASON_REVOKED;
	ruling->flow_flags |= FLOW_TOMBSTONE;
	store_ruling(flow, ruling, epoch);
}

/* The flow passes now. */
static __always_inline void keep(struct flow *flow, struct ruling *ruling, __u32 epoch)
{
	ruling->event = 0;
	if (ruling->verdict == VERDICT_AUDITED && flow->verdict == VERDICT_AUDITED) {
		ruling->reason = flow->reason;
	} else if (ruling->verdict == VERDICT_AUDITED && flow->verdict == VERDICT_ALLOWED) {
		ruling->reason = REASON_REVOKED;
		ruling->event = EVENT_REVOKED;
	} else if ((ruling->verdict != flow->verdict || ruling->rule != flow->rule) &&
		   !(ruling->flow_flags & FLOW_DEFERRED)) {
		ruling->event = EVENT_FREED;
	}
	store_ruling(flow, ruling, epoch);
}

/* Where a sticky flow came from only a whole packet of its initiator can show
 * again. */
static __always_inline bool keeps_verdict(const struct flow *flow, bool from_initiator,
					  __u32 arrival)
{
	if (is_cut(flow))
		return false;
	if (!recheck_existing)
		return true;
	return flow->flags & FLOW_STICKY && (!from_initiator || arrival == ARRIVED_OTHERWISE);
}

/* A flow that is known is judged by the policy of now, in its initiator's
 * direction, once per epoch. False: the packet is denied by that. */
static __always_inline bool reassess(struct work *work, struct flow *flow, __u32 arrival)
{
	const struct sight *sight = &work->packet.sight;
	bool from_initiator = flow->initiator == sender_of(sight->direction);
	bool was_cut = is_cut(flow);

	if (keeps_verdict(flow, from_initiator, arrival)) {
		flow->epoch = sight->epoch;
		return true;
	}
	work->ruling.initiator = flow->initiator;
	rule_on(SUBJECT_PACKET, direction_of(flow->initiator),
		from_initiator ? arrival : ARRIVED_OTHERWISE);
	/* No judgement on the flow, and no mark on it: policy comes later. */
	if (work->ruling.reason == REASON_NOT_READY)
		return false;
	apply_mode(&work->endpoint, &work->ruling);
	if (work->ruling.verdict == VERDICT_DENIED) {
		touch(flow, sight);
		cut(flow, &work->ruling, sight->epoch);
		return was_cut;
	}
	keep(flow, &work->ruling, sight->epoch);
	return true;
}

/* TCP without an entry, and not its first packet: it may answer a connection
 * that the other side began, if policy lets that side begin it. A rule for it
 * is enough, unless strict; "not isolated" is not, or a bare ACK would open
 * every pod: that needs the kernel's word. */
__noinline int rule_on_midstream(struct __sk_buff *skb)
{
	struct work *work = current_work();
	struct ruling direct;
	__u8 sender;

	if (!work)
		return 0;
	direct = work->ruling;
	sender = sender_of(work->packet.sight.direction);
	work->ruling.initiator = other_side(sender);
	rule_on(SUBJECT_PACKET, direction_of(other_side(sender)), ARRIVED_OTHERWISE);
	if (work->ruling.verdict == VERDICT_ALLOWED &&
	    ((!midstream_strict && work->ruling.reason == REASON_RULE) ||
	     is_tracked_reply(skb, SUBJECT_PACKET, sender)))
		work->ruling.reason = REASON_MIDSTREAM;
	else
		work->ruling = direct;
	return 0;
}

/* The ruling becomes an entry: in place where an old one has the key. */
static __always_inline void admit(const struct packet *pkt, __u32 slot, const struct ruling *ruling,
				  struct flow *old)
{
	struct flow fresh = {
		.first = pkt->sight.now,
		.last_tx = pkt->sight.now,
		.last_rx = pkt->sight.now,
		.epoch = pkt->sight.epoch,
		.set = ruling->set,
		.rule = ruling->rule,
		.initiator = ruling->initiator,
		.verdict = ruling->verdict,
		.reason = ruling->reason,
		.flags = ruling->flow_flags,
		.tag = flow_tag(&pkt->key),
	};

	flow_refresh(&fresh, &pkt->sight, pkt->key.protocol);
	if (old)
		*old = fresh;
	else
		flow_insert(&pkt->key, &fresh, slot);
}

static __always_inline void rule_as_flow(const struct flow *flow, struct ruling *ruling)
{
	ruling->verdict = flow->verdict;
	ruling->reason = flow->reason;
	ruling->set = flow->set;
	ruling->rule = flow->rule;
	ruling->initiator = flow->initiator;
	ruling->flow_flags = flow->flags;
}

/* A live entry has the last word on the packet. False: judge it as new. */
static __always_inline bool rule_by_flow(struct work *work, struct flow *flow, __u32 arrival)
{
	const struct sight *sight = &work->packet.sight;
	__u8 protocol = work->packet.key.protocol;

	if (flow_restarts(flow, sight) || (is_cut(flow) && sight->starts))
		return false;
	if (flow->epoch != sight->epoch && !reassess(work, flow, arrival))
		return true;
	if (!is_cut(flow)) {
		/* After translation, from_pod has counted what it keeps itself. */
		if (!work->translated || flow->flags & FLOW_TRANSLATED)
			flow_refresh(flow, sight, protocol);
		rule_as_flow(flow, &work->ruling);
		work->ruling.counted = established_reason(flow, sight);
		return true;
	}
	if (protocol != PROTO_TCP)
		return false;
	touch(flow, sight);
	rule_as_flow(flow, &work->ruling);
	deny(&work->ruling, REASON_REVOKED);
	return true;
}

/* The pod seems to call its node, but answers what another has begun: if
 * policy lets the other begin it, the entry was lost. Else the pod has no say
 * in it, which the hook behind translation sees to where there is one. */
static __always_inline int rule_on_answer(struct __sk_buff *skb, struct work *work)
{
	if (!have_forward_hook) {
		work->ruling.flow_flags = 0;
		work->ruling.set = work->endpoint.set_egress;
		deny(&work->ruling, REASON_NO_RULE);
	}
	return work->packet.key.protocol == PROTO_TCP ? rule_on_midstream(skb) : 0;
}

/* skb: NULL after translation, where conntrack has told already that the
 * packet is no reply. */
static __always_inline int rule_on_new(struct __sk_buff *skb, struct work *work, __u32 arrival,
				       struct flow *old)
{
	struct packet *pkt = &work->packet;
	struct ruling *ruling = &work->ruling;
	bool midstream = pkt->key.protocol == PROTO_TCP && !pkt->sight.starts;

	ruling->initiator = sender_of(pkt->sight.direction);
	rule_on(SUBJECT_PACKET, pkt->sight.direction, arrival);
	ruling->lasting = skb && !(ruling->flow_flags & FLOW_CALLS_NODE) &&
			  is_policy_miss(ruling->reason) &&
			  rests_on_tables(skb, &pkt->key, &pkt->sight);
	if (skb && ruling->flow_flags & FLOW_CALLS_NODE && answers_another(skb, pkt))
		rule_on_answer(skb, work);
	else if (skb && midstream && ruling->verdict == VERDICT_DENIED &&
		 is_policy_miss(ruling->reason))
		rule_on_midstream(skb);
	apply_mode(&work->endpoint, ruling);
	if (ruling->verdict == VERDICT_DENIED)
		return 0;
	if (midstream)
		ruling->flow_flags |= FLOW_MIDSTREAM;
	if (work->translated)
		ruling->flow_flags |= FLOW_TRANSLATED;
	if (pkt->sight.direction == DIR_INGRESS && is_guarded(&work->endpoint) &&
	    !is_own(pkt->key.ifindex, pkt->key.local))
		ruling->flow_flags |= FLOW_FOREIGN;
	ruling->event = EVENT_NEW;
	admit(pkt, work->endpoint.slot, ruling, old);
	return 0;
}

static __always_inline void caller_of(const struct flow_key *key, struct caller *caller)
{
	caller->ifindex = key->ifindex;
	copy_address(caller->local, key->local);
	caller->local_port = key->local_port;
	caller->protocol = key->protocol;
}

/* For the event that names both, and to cut this flow when policy cuts the
 * translated one. Again with each epoch: the table forgets. */
static __always_inline int remember_called(const struct flow_key *key)
{
	struct caller caller = {};
	struct called called = {.service_port = key->remote_port};

	caller_of(key, &caller);
	copy_address(called.service, key->remote);
	return bpf_map_update_elem(&deferred, &caller, &called, BPF_ANY);
}

__noinline int rule_on_flow(struct __sk_buff *skb)
{
	struct work *work = current_work();
	struct packet *pkt;
	struct flow *flow;
	__u32 arrival;

	if (!work)
		return 0;
	pkt = &work->packet;
	arrival = arrival_of(skb, pkt);
	/* Another CPU may make one meanwhile: flow_insert then finds it. */
	flow = pkt->sight.unknown ? NULL : flow_find(&pkt->key);
	if (!flow || flow_expired(flow, pkt->key.protocol, pkt->sight.now) ||
	    !is_credible(skb, pkt, flow) || !rule_by_flow(work, flow, arrival))
		rule_on_new(skb, work, arrival, flow);
	mark_call(skb, pkt, work->ruling.flow_flags);
	if (have_forward_hook && work->ruling.reason == REASON_DEFERRED)
		remember_called(&pkt->key);
	return 0;
}

#endif
