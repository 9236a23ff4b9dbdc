// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The entry points, both on the host side of a pod's veth: from_pod at TC
 * ingress, to_pod at TC egress. */
#include "judge.h"
#include "quick.h"
#include "exports.h"

/* The fast path: a known flow in a common shape costs one lookup. */
static __always_inline bool is_established(struct __sk_buff *skb, __u32 direction)
{
	struct sight sight = {.direction = direction};
	struct flow_key key; /* every byte of it is set below */

	if (!quick_parse(skb, &key, &sight))
		return false;
	key.ifindex = skb->ifindex;
	sight.segments = segments_of(skb);
	sight.now = ticks();
	sight.epoch = current_epoch();
	return flow_carries(&key, &sight);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	if (is_established(skb, DIR_EGRESS))
		return PASS;
	return judge(skb, DIR_EGRESS);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	if (is_established(skb, DIR_INGRESS))
		return PASS;
	return judge(skb, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
