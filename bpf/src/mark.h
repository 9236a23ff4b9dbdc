/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What from_pod says of a packet to the programs behind translation, in
 * skb->tc_index: the stack neither reads nor changes it on the way, but that
 * TC_ACT_OK of a program behind ours writes it: a TCX program's from tc_classid,
 * which therefore says the same; a classic filter's from its own, mostly 0.
 *
 * A packet that a known flow carries, and that nothing is expected to
 * translate, gets a hash of its destination. Behind translation it passes if
 * that is its destination still, without a lookup: there the cold caches of two
 * lookups cost more than all that from_pod does. What was translated all the
 * same, by whatever means, has another hash, and is judged by the address that
 * it has then; of 65,536 such translations of a known flow one would go unseen
 * until the agent has heard of it.
 *
 * from_pod writes each packet's, so that nobody's word is taken for it: a pod
 * with privileges could set one, or send on what another pod has sent. */
#ifndef WEIR_MARK_H
#define WEIR_MARK_H

#include "config.h"
#include "packet.h"

static __always_inline void set_mark(struct __sk_buff *skb, __u16 mark)
{
	skb->tc_index = mark;
	skb->tc_classid = mark;
}

/* 0: none. */
static __always_inline __u16 settled_mark(const struct flow_key *key)
{
	__u64 mark = (__u64)word(key->remote, 2) << 32 | word(key->remote, 3);
	__u64 network = (__u64)word(key->remote, 0) << 32 | word(key->remote, 1);

	mark = (mark ^ (__u64)key->remote_port << 16 ^ key->protocol) * 0x9e3779b97f4a7c15ULL;
	mark = (mark ^ network) * 0x9e3779b97f4a7c15ULL;
	mark >>= 48;
	return mark == MARK_CALLS_NODE ? 0 : mark;
}

/* The flow carries the packet. */
static __always_inline void mark_settled(struct __sk_buff *skb, const struct flow_key *key,
					 const struct flow *flow)
{
	if (have_forward_hook && !(flow->flags & FLOW_DEFERRED))
		set_mark(skb, settled_mark(key));
}

/* An answer to this one may be for another, see calls.h. */
static __always_inline void mark_call(struct __sk_buff *skb, const struct packet *pkt, __u8 flags)
{
	if (pkt->sight.direction == DIR_EGRESS && flags & FLOW_CALLS_NODE)
		set_mark(skb, MARK_CALLS_NODE);
}

#endif
