/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The verdict after destination NAT. from_pod passes what a pod sends to an
 * address that the node translates; here the packet has its real destination,
 * and still the pod's own source.
 *
 * Most packets are known by then: their tuple has an entry that from_pod
 * keeps, and they pass uncounted. Only what no one has decided is judged. */
#ifndef WEIR_FORWARD_H
#define WEIR_FORWARD_H

#include "forwarded.h"
#include "judge.h"

/* What comes from no pod of this node is not for this hook. */
static __always_inline bool find_pod(struct packet *pkt)
{
	pkt->key.ifindex = owner_of(pkt->key.local);
	return pkt->key.ifindex;
}

/* The entry of what the pod called, as from_pod sees it. */
static __always_inline struct flow *find_called(const struct flow_key *of,
						const struct called *called)
{
	struct flow_key key = *of;

	copy_address(key.remote, called->service);
	key.remote_port = called->service_port;
	return flow_find(&key);
}

/* False: nobody knows, or it was not translated. */
static __always_inline bool recall_called(const struct flow_key *key, struct called *to)
{
	const struct called *called;
	struct caller caller = {};

	caller_of(key, &caller);
	called = bpf_map_lookup_elem(&deferred, &caller);
	if (!called || (same_address(called->service, key->remote) &&
			called->service_port == key->remote_port))
		return false;
	*to = *called;
	return true;
}

/* Answers come back under the address that was called, so it is there that
 * the answer was seen. */
static __always_inline bool is_answered(const struct flow_key *key)
{
	const struct flow *flow;
	struct called called;

	if (!recall_called(key, &called))
		return false;
	flow = find_called(key, &called);
	return flow && flow->flags & FLOW_ANSWERED;
}

/* The other side's FIN is not seen here; the pod's own stands for both. */
static __always_inline void refresh_translated(const struct flow_key *key,
					       const struct sight *sight, struct flow *flow)
{
	flow_refresh(flow, sight, key->protocol);
	if (sight->tcp_flags & TCP_FIN)
		flow->tcp_rx |= TCP_FIN;
	if (!(flow->flags & FLOW_ANSWERED) && !sight->starts && is_answered(key))
		flow->flags |= FLOW_ANSWERED;
}

/* A known tuple of this epoch. An entry of an untranslated destination does
 * not count: it says only that the verdict is still to come. Segments are
 * counted where it is this hook that counts. */
static __always_inline bool is_settled(const struct reader *from, const struct flow_key *key,
				       struct sight *sight)
{
	struct flow *flow = flow_find(key);

	if (!flow || flow->epoch != sight->epoch || is_cut(flow) || flow->flags & FLOW_DEFERRED ||
	    flow_restarts(flow, sight) || flow_expired(flow, key->protocol, sight->now))
		return false;
	if (!(flow->flags & FLOW_TRANSLATED))
		return true;
	sight->segments = segments_at(from);
	refresh_translated(key, sight, flow);
	if (flow->verdict != VERDICT_ALLOWED)
		count_dropped(sight, key->ifindex, flow->verdict, flow->reason);
	return true;
}

/* What from_pod passes without an entry. A bridge whose packets go through
 * netfilter forwards neighbour discovery here, too. */
static __always_inline bool is_of_link(struct packet *pkt)
{
	return is_discovery(pkt) || is_group_report(pkt) || is_listener_traffic(pkt);
}

/* Nobody has translated it, and nobody else will: it is judged by the address
 * that it has, each packet for itself. */
static __always_inline int rule_on_untranslated(struct work *work)
{
	rule_on(SUBJECT_PACKET, DIR_EGRESS, ARRIVED_OTHERWISE);
	apply_mode(&work->endpoint, &work->ruling);
	return 0;
}

/* A fragment that conntrack has not put together was not translated either;
 * from_pod has judged it, unless it deferred to here. */
static __always_inline int rule_on_later(struct work *work)
{
	struct peer peer;

	if (read_peer(work->packet.key.remote, &peer) != READ_MIXED && !peer.flags)
		return allow(&work->ruling, REASON_ESTABLISHED);
	return rule_on_opaque(work, REASON_FRAGMENT);
}

static __always_inline bool is_about_known(struct work *work)
{
	const struct flow *flow = flow_find(&work->quoted);

	return is_addressed_right(&work->packet, &work->endpoint, &work->quoted) && flow &&
	       !is_cut(flow) &&
	       !flow_expired(flow, work->quoted.protocol, work->packet.sight.now) &&
	       still_passes(work, flow);
}

/* Answers would still come in under the address that was called, and keep the
 * way open for as long as the pod sends. Without an answer there is nothing
 * to close, and each retransmitted SYN would be a new flow. */
static __always_inline int close_called(struct work *work)
{
	struct flow *flow = find_called(&work->packet.key, &work->called);

	if (!flow || is_cut(flow) || !(flow->flags & FLOW_DEFERRED) ||
	    !(flow->flags & FLOW_ANSWERED))
		return 0;
	flow->verdict = VERDICT_DENIED;
	flow->reason = REASON_REVOKED;
	flow->flags |= FLOW_TOMBSTONE;
	return 0;
}

/* TCP that nobody has translated, in the middle of a connection that the other
 * side may begin: from_pod passes it, by such a rule or by an entry. While the
 * programs of two layouts take over from each other, that entry stands in a
 * table that this program does not have, and without conntrack nothing else
 * tells an answer here. */
static __always_inline int rule_on_untold(struct work *work)
{
	struct ruling direct = work->ruling;

	if (midstream_strict || direct.verdict != VERDICT_DENIED ||
	    !is_policy_miss(direct.reason) || work->packet.key.protocol != PROTO_TCP ||
	    work->packet.sight.starts || recall_called(&work->packet.key, &work->called))
		return 0;
	rule_on(SUBJECT_PACKET, DIR_INGRESS, ARRIVED_OTHERWISE);
	if (work->ruling.verdict != VERDICT_ALLOWED || work->ruling.reason != REASON_RULE)
		work->ruling = direct;
	else
		work->ruling.reason = REASON_MIDSTREAM;
	return 0;
}

static __always_inline int rule_on_tuple(struct work *work)
{
	struct packet *pkt = &work->packet;
	struct flow *flow = flow_find(&pkt->key);

	if (flow && flow_expired(flow, pkt->key.protocol, pkt->sight.now))
		flow->flags &= ~FLOW_DEFERRED;
	else if (flow && flow->flags & FLOW_DEFERRED)
		return rule_on_untranslated(work);
	else if (flow && rule_by_flow(work, flow, ARRIVED_OTHERWISE))
		return 0;
	rule_on_new(NULL, work, ARRIVED_OTHERWISE, flow);
	return rule_on_untold(work);
}

/* quotes: it is an ICMP error, and work->quoted the flow that it is about. */
__noinline int rule_on_forwarded(__u32 quotes)
{
	struct work *work = current_work();
	struct packet *pkt;

	if (!work)
		return 0;
	pkt = &work->packet;
	read_endpoint(pkt->key.ifindex, &work->endpoint);
	if (work->endpoint.flags & EP_HANDOVER)
		return allow(&work->ruling, REASON_NOT_ISOLATED);
	/* Not to be cut later needs an entry from before. */
	if (is_unpoliced(&work->endpoint, DIR_EGRESS, &work->ruling) &&
	    (recheck_existing || work->ruling.verdict == VERDICT_DENIED))
		return 0;
	if (pkt->shape != SHAPE_IP)
		return rule_on_opaque(work, REASON_MALFORMED);
	if (pkt->part == PART_LATER)
		return rule_on_later(work);
	if (pkt->headerless)
		return rule_on_opaque(work, REASON_FRAGMENT);
	if (quotes && is_about_known(work))
		return allow(&work->ruling, REASON_RELATED);
	return rule_on_tuple(work);
}

/* from_pod has counted the packet as passed; a denial here is counted beside. */
static __always_inline int conclude_forwarded(struct work *work)
{
	const struct sight *sight = &work->packet.sight;
	struct ruling *ruling = &work->ruling;
	bool denied = ruling->verdict == VERDICT_DENIED;

	if (denied)
		count_total(sight, ruling->reason);
	if (ruling->verdict != VERDICT_ALLOWED)
		count_dropped(sight, work->packet.key.ifindex, ruling->verdict, ruling->reason);
	if (denied && !ruling->event)
		ruling->event = EVENT_NEW;
	if (ruling->reason == REASON_NOT_ISOLATED || ruling->reason == REASON_NOT_READY_OPEN)
		ruling->event = 0; /* from_pod has told all that there is to tell */
	if (!ruling->event)
		return denied ? DROP : PASS;
	if (recall_called(&work->packet.key, &work->called) && denied)
		close_called(work);
	tell();
	return denied ? DROP : PASS;
}

__noinline int judge_forwarded(__u32 quotes)
{
	struct work *work = current_work();

	if (!work)
		return DROP;
	rule_on_forwarded(quotes);
	return conclude_forwarded(work);
}

/* Every shape of packet, and what is not settled. */
static __always_inline int judge_any(const struct reader *from, const struct sight *sight)
{
	struct work *work = current_work();
	struct packet *pkt;
	bool quotes = false;

	if (!work)
		return DROP;
	__builtin_memset(work, 0, sizeof(*work));
	pkt = &work->packet;
	pkt->sight.direction = DIR_EGRESS;
	pkt->sight.length = sight->length;
	pkt->sight.now = ticks();
	pkt->sight.epoch = current_epoch();
	if (!read_addresses(from, pkt))
		return DROP; /* no packet that the stack forwards is so short */
	if (!find_pod(pkt))
		return PASS;
	work->translated = true;
	work->ruling.direction = DIR_EGRESS;
	pkt->sight.segments = segments_at(from);
	pkt->shape = read_transport(from, pkt);
	if (pkt->shape == SHAPE_IP && is_of_link(pkt))
		return PASS;
	if (pkt->shape == SHAPE_IP && is_icmp_error(pkt))
		quotes = read_quoted(from, work);
	else if (pkt->shape == SHAPE_IP && pkt->part == PART_WHOLE &&
		 is_settled(from, &pkt->key, &pkt->sight))
		return PASS;
	return judge_forwarded(quotes);
}

static __always_inline struct sight sight_of_forwarded(__u32 length)
{
	return (struct sight){.direction = DIR_EGRESS, .length = length};
}

/* A packet in a common shape that is settled, or is not for this hook. */
static __always_inline bool passes_forwarded(const struct reader *from, struct sight *sight)
{
	struct flow_key key;

	if (!read_common(from, &key, sight))
		return false;
	if (is_marked(from, &key))
		return true;
	sight->now = ticks();
	sight->epoch = current_epoch();
	key.ifindex = owner_of(key.local);
	return !key.ifindex || is_settled(from, &key, sight);
}

#endif
