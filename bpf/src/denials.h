/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was denied a moment ago. A tuple that is denied again within a second of
 * its event is not told again; and from the third time on it is not judged again
 * either, as long as user space has written no table since. So a flood costs
 * what it takes to find its tuple, and to count. */
#ifndef WEIR_DENIALS_H
#define WEIR_DENIALS_H

#include "counters.h"
#include "limits.h"
#include "work.h"

/* Spreads every bit of the key over the word (the multiplier is 2^64 divided
 * by the golden ratio). Tuples that collide are told more often than once a
 * second, no more. */
static __always_inline __u64 tag_of(const struct flow_key *key)
{
	const address_word *words = (const address_word *)key;
	__u64 even = 1, odd = 2;
	int i;

	/* Two chains, which a processor follows at once. */
	for (i = 0; i + 1 < sizeof(*key) / sizeof(*words); i += 2) {
		even = (even ^ words[i]) * 0x9e3779b97f4a7c15ULL;
		odd = (odd ^ words[i + 1]) * 0x9e3779b97f4a7c15ULL;
	}
	even = (even ^ words[i]) * 0x9e3779b97f4a7c15ULL;
	return (even ^ odd >> 32) * 0x9e3779b97f4a7c15ULL ^ odd << 32;
}

static __always_inline __u32 denial_place(__u64 tag)
{
	return tag >> 32 & (DENIAL_PLACES - 1);
}

static __always_inline struct denial *denial_at(__u64 tag)
{
	__u32 place = denial_place(tag);

	return bpf_map_lookup_elem(&denials, &place);
}

/* Told within the last second: not to be told again. */
static __always_inline bool is_told(const struct denial *denial, __u64 tag, __u32 now)
{
	return denial->tag == tag && now - denial->told < ticks_per_second;
}

static __always_inline void count_untold(struct denial *denial, struct ring_stats *stats)
{
	denial->repeats++;
	stats->suppressed++;
}

/* Says that the tuple's next denial shall be told, and this one with it. */
static __always_inline void owe(struct denial *denial, __u64 tag, __u32 repeats, __u32 now)
{
	denial->tag = tag;
	denial->told = now - ticks_per_second;
	denial->repeats = repeats + 1;
}

static __always_inline __u32 *last_kept(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&last_denied, &zero);
}

/* The revision is written last, and is no one's meanwhile: a reader never
 * meets an old key under it. */
static __always_inline int keep_denied(const struct work *work, __u64 tag)
{
	__u32 place = denial_place(tag);
	struct denied *denied = bpf_map_lookup_elem(&denied_tuples, &place);
	__u32 *last = last_kept();

	if (!denied || !last)
		return 0;
	*last = work->packet.sight.now;
	*(volatile __u32 *)&denied->revision = 0;
	barrier();
	denied->key = work->packet.key;
	denied->direction = work->packet.sight.direction;
	denied->reason = work->ruling.reason;
	barrier();
	*(volatile __u32 *)&denied->revision = work->revision;
	return 0;
}

static __always_inline bool same_key(const struct flow_key *a, const struct flow_key *b)
{
	const address_word *x = (const address_word *)a, *y = (const address_word *)b;
	address_word differ = 0;
	int i;

	for (i = 0; i < sizeof(*a) / sizeof(*x); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* Whether the tables alone rule on a packet that no flow knows: one that begins
 * something, and comes from elsewhere. In the middle of a connection conntrack
 * has a say, and a DHCP server's answer depends on what the pod has asked. */
static __always_inline bool rests_on_tables(const struct __sk_buff *skb, const struct flow_key *key,
					    const struct sight *sight)
{
	if (key->protocol == PROTO_TCP && !sight->starts)
		return false;
	if (key->protocol == PROTO_UDP && key->local_port == bpf_htons(68))
		return false;
	return sight->direction == DIR_EGRESS ||
	       (skb->ingress_ifindex && skb->ingress_ifindex != key->ifindex);
}

/* What was ruled on it, if that holds still; the key is compared after the
 * reading, as in lookup.h. 0: nothing. */
static __always_inline __u8 denied_for(const struct flow_key *key, __u32 direction, __u64 tag)
{
	__u32 place = denial_place(tag), revision = current_revision();
	const struct denied *denied = bpf_map_lookup_elem(&denied_tuples, &place);
	__u8 reason;

	if (!denied || !revision || denied->direction != direction)
		return 0;
	reason = denied->reason;
	barrier();
	if (!same_key(&denied->key, key))
		return 0;
	barrier();
	return *(const volatile __u32 *)&denied->revision == revision ? reason : 0;
}

/* False: there is nothing to look for. On most nodes it is so at most times, and
 * a new flow need not read a place of its own for it. */
static __always_inline bool denied_lately(__u32 now)
{
	const __u32 *last = last_kept();

	return last && now - *last < ticks_per_second;
}

/* Counts a packet that no flow knows, and whose like was denied a moment ago;
 * or leaves everything as it was. */
static __noinline bool is_denied_again(const struct __sk_buff *skb, const struct flow_key *key,
				       const struct sight *sight)
{
	__u64 tag = tag_of(key);
	struct denial *denial = denial_at(tag);
	struct ring_stats *stats;
	__u8 reason;

	if (!denial || !is_told(denial, tag, sight->now) || !rests_on_tables(skb, key, sight))
		return false;
	reason = denied_for(key, sight->direction, tag);
	stats = stats_of(RING_DENIED);
	if (!reason || !stats)
		return false;
	count_untold(denial, stats);
	count_total(sight, reason);
	count_dropped(sight, key->ifindex, VERDICT_DENIED, reason);
	return true;
}

#endif
