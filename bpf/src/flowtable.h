/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow table: find, expire, update in place, make. Time is a parameter.
 *
 * An entry counts as a tombstone by its verdict, not by FLOW_TOMBSTONE: two
 * CPUs may change the flags at once and lose one of them, but nobody writes
 * the verdict of a live flow except the one who judges it. */
#ifndef WEIR_FLOWTABLE_H
#define WEIR_FLOWTABLE_H

#include "config.h"
#include "counters.h"
#include "packet.h"

/* Seconds that an entry lives without packets. */
enum flow_lifetime {
	LIFE_ONE_WAY = 30,
	LIFE_TWO_WAY = 180,
	LIFE_ICMP = 30,
	LIFE_TCP_CLOSED = 120, /* also: never answered, and tombstones */
};

enum errno {
	ERRNO_EXISTS = 17,
};

/* Anything but the two verdicts that pass: an unknown one denies. */
static __always_inline bool is_cut(const struct flow *flow)
{
	return flow->verdict != VERDICT_ALLOWED && flow->verdict != VERDICT_AUDITED;
}

static __always_inline bool idle_longer(__u32 now, __u32 last, __u32 seconds)
{
	/* Signed: another CPU may have written a tick that is ahead of ours. */
	return (__s32)(now - last) > (__s32)(seconds * ticks_per_second);
}

static __always_inline __u32 last_seen(const struct flow *flow)
{
	return (__s32)(flow->last_tx - flow->last_rx) > 0 ? flow->last_tx : flow->last_rx;
}

static __always_inline bool tcp_closed(const struct flow *flow)
{
	return (flow->tcp_tx | flow->tcp_rx) & TCP_RST || (flow->tcp_tx & flow->tcp_rx & TCP_FIN);
}

/* Without TCP only the initiator's packets keep a flow alive: else one packet
 * would hold the way back open for ever. */
static __always_inline bool flow_expired(const struct flow *flow, __u8 protocol, __u32 now)
{
	__u32 last, life;

	if (protocol == PROTO_TCP || is_cut(flow)) {
		if (!is_cut(flow) && flow->flags & FLOW_ANSWERED && !tcp_closed(flow))
			return false;
		return idle_longer(now, last_seen(flow), LIFE_TCP_CLOSED);
	}
	last = flow->initiator == SIDE_LOCAL ? flow->last_tx : flow->last_rx;
	if (protocol == PROTO_ICMP || protocol == PROTO_ICMPV6)
		life = LIFE_ICMP;
	else
		life = flow->flags & FLOW_ANSWERED ? LIFE_TWO_WAY : LIFE_ONE_WAY;
	return idle_longer(now, last, life);
}

/* A TCP SYN from the side that did not begin, or on a closed connection, and
 * an ICMP request from the side that did not ask (its identifier may equal the
 * number of the request's type, and then so do the keys). */
static __always_inline bool flow_restarts(const struct flow *flow, const struct sight *sight)
{
	return sight->starts &&
	       (flow->initiator != sender_of(sight->direction) || tcp_closed(flow));
}

/* A connection taken up in the middle by a supposed reply is not answered
 * before its supposed initiator was seen: else bare ACKs from an allowed port
 * would make entries that never expire. */
static __always_inline bool initiator_seen(const struct flow *flow, __u8 protocol)
{
	if (protocol != PROTO_TCP)
		return true;
	return flow->initiator == SIDE_LOCAL ? flow->tcp_tx : flow->tcp_rx;
}

static __always_inline void flow_refresh(struct flow *flow, const struct sight *sight,
					 __u8 protocol)
{
	if (sight->direction == DIR_EGRESS) {
		flow->tx_packets += sight->segments;
		flow->tx_bytes += sight->length;
		flow->last_tx = sight->now;
		if (sight->tcp_flags & ~flow->tcp_tx)
			flow->tcp_tx |= sight->tcp_flags;
	} else {
		flow->rx_packets += sight->segments;
		flow->rx_bytes += sight->length;
		flow->last_rx = sight->now;
		if (sight->tcp_flags & ~flow->tcp_rx)
			flow->tcp_rx |= sight->tcp_flags;
	}
	if (flow->initiator != sender_of(sight->direction) && !(flow->flags & FLOW_ANSWERED) &&
	    initiator_seen(flow, protocol))
		flow->flags |= FLOW_ANSWERED;
}

static __always_inline __u32 established_reason(const struct flow *flow, const struct sight *sight)
{
	return flow->initiator == sender_of(sight->direction) ? REASON_ESTABLISHED : REASON_REPLY;
}

/* Of what tells tuples apart most: interface, ends of the addresses, ports.
 * Those that differ in one port alone have different tags. */
static __always_inline __u16 flow_tag(const struct flow_key *key)
{
	__u32 tag = key->ifindex ^ word(key->local, 3) ^ word(key->remote, 3) ^
		    *(const address_word *)&key->local_port;

	/* Times an odd number: two equal ports would vanish. */
	return tag ^ (tag >> 16) * 3;
}

/* The entry is still that of the key: asked after its reading. The kernel
 * gives the element of a deleted entry, or one that the LRU evicts, to the next
 * tuple, while another CPU may still be reading it. 16 bits and not the whole
 * key, which would cost the fast path more: what is deleted has expired, and
 * what is evicted is the least used, so a reader is there at that very instant
 * next to never, and of 65,536 such meetings one goes unseen. */
static __always_inline bool flow_is(const struct flow *flow, const struct flow_key *key)
{
	barrier();
	return flow->tag == flow_tag(key);
}

static __always_inline struct flow *flow_lookup(const struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u32 zero = 0;
	__u64 *spilled;

	if (flow)
		return flow;
	spilled = bpf_map_lookup_elem(&flow_usage, &zero);
	if (!spilled || !*spilled)
		return NULL;
	return bpf_map_lookup_elem(&flows_spill, key);
}

/* Absent, too, if it has just become another one. */
static __always_inline struct flow *flow_find(const struct flow_key *key)
{
	struct flow *flow = flow_lookup(key);

	return flow && flow_is(flow, key) ? flow : NULL;
}

/* The hot path: a flow of this epoch. Counts the packet; false: it leaves
 * everything as it was. */
static __always_inline bool flow_carries(struct flow *flow, const struct flow_key *key,
					 const struct sight *sight)
{
	/* An entry is made for what is flooded to a pod, too. As a source that
	 * address is forged, and only the slow path looks. */
	if (flow->epoch != sight->epoch || is_cut(flow) || flow_restarts(flow, sight) ||
	    flow->flags & FLOW_CALLS_NODE ||
	    (flow->flags & FLOW_FOREIGN && sight->direction == DIR_EGRESS) ||
	    flow_expired(flow, key->protocol, sight->now) || !flow_is(flow, key))
		return false;
	flow_refresh(flow, sight, key->protocol);
	count_total(sight, established_reason(flow, sight));
	if (flow->verdict != VERDICT_ALLOWED)
		count_dropped(sight, key->ifindex, flow->verdict, flow->reason);
	return true;
}

/* Slot 0 belongs to nobody: its flow_usage says that something was spilled. */
static __always_inline bool has_share(const __u64 *usage, __u32 slot)
{
	const __u64 *limit = bpf_map_lookup_elem(&flow_limit, &slot);

	return slot && usage && limit && *usage < *limit;
}

/* Non-zero when no table takes it; the verdict stands all the same. */
static __noinline int flow_insert(const struct flow_key *key, const struct flow *flow, __u32 slot)
{
	__u64 *usage = bpf_map_lookup_elem(&flow_usage, &slot);
	__u32 zero = 0;
	int err;

	if (has_share(usage, slot)) {
		err = bpf_map_update_elem(&flows, key, flow, BPF_NOEXIST);
		if (!err)
			__sync_fetch_and_add(usage, 1);
		/* Another CPU was faster; its entry serves as well. */
		if (!err || err == -ERRNO_EXISTS)
			return 0;
	}
	usage = bpf_map_lookup_elem(&flow_usage, &zero);
	if (usage && !*usage)
		*usage = 1; /* before the entry, or nobody would look for it */
	return bpf_map_update_elem(&flows_spill, key, flow, BPF_ANY);
}

#endif
