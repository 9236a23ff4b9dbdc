// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The entry points. On the host side of a pod's veth: from_pod at TC ingress,
 * to_pod at TC egress. Where the node forwards, after destination NAT: forward
 * or, on older kernels, forward_match. */
#include "forward.h"
#include "judge.h"
#include "quick.h"
#include "exports.h"

/* The fast path: a known flow in a common shape costs one lookup, and so does
 * what was denied a moment ago. */
static __always_inline int pass_known(struct __sk_buff *skb, __u32 direction)
{
	struct sight sight = {.direction = direction};
	struct flow_key key; /* every byte of it is set below */
	struct flow *flow;

	if (!quick_parse(skb, &key, &sight))
		return begin_unparsed(skb, direction);
	key.ifindex = skb->ifindex;
	sight.segments = segments_of(skb);
	sight.now = ticks();
	sight.epoch = current_epoch();
	flow = flow_lookup(&key);
	if (flow && flow_carries(flow, &key, &sight)) {
		if (direction == DIR_EGRESS)
			mark_settled(skb, &key, flow);
		return PASS;
	}
	sight.unknown = !flow;
	if (!flow && denied_lately(sight.now) && is_denied_again(skb, &key, &sight))
		return DROP;
	return begin_parsed(&key, &sight);
}

static __always_inline int pass_or_judge(struct __sk_buff *skb, __u32 direction)
{
	int outcome = pass_known(skb, direction);

	return outcome == UNDECIDED ? judge(skb) : outcome;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	set_mark(skb, 0);
	return pass_or_judge(skb, DIR_EGRESS);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	return pass_or_judge(skb, DIR_INGRESS);
}

/* NF_INET_FORWARD; 6.4. */
SEC("netfilter")
int forward(struct netfilter_context *ctx)
{
	struct sk_buff___weir *skb = ctx->skb;
	struct bpf_dynptr packet;
	struct reader from = {.whole = skb};
	struct sight sight = sight_of_forwarded(skb->len);

	if (is_reply(skb) || passes_forwarded(&from, &sight))
		return NETFILTER_ACCEPT;
	if (bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &packet))
		return NETFILTER_DROP;
	from.packet = &packet;
	return judge_any(&from, &sight) == DROP ? NETFILTER_DROP : NETFILTER_ACCEPT;
}

/* A match of xt_bpf in a rule that drops, behind one that accepts replies
 * without the mark. The packet begins at its network header. */
SEC("socket")
int forward_match(struct __sk_buff *skb)
{
	struct reader from = {.skb = skb};
	struct sight sight = sight_of_forwarded(skb->len);

	return !passes_forwarded(&from, &sight) && judge_any(&from, &sight) == DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
