/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the kernel takes for the operations that a case cannot do without, on
 * weir's own tables, with its keys, values and events: the lookup of the flow,
 * its counters or its entry, the event. No policy, no checks. A program that
 * tracks flows in such tables cannot be faster than these.
 *
 * Each returns -1, or 1 if an operation did not do what the case is about. */
#ifndef WEIR_FLOOR_H
#define WEIR_FLOOR_H

#include "../../../../bpf/src/types.h"

enum floor_offset {
	FLOOR_L3 = 14,
	FLOOR_READ = FLOOR_L3 + 40 + 4, /* to the end of the ports behind IPv6 */
};

/* The stage gives its own maps for these. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows_spill SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events_allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct drop_key);
	__type(value, struct traffic);
	__uint(max_entries, 1);
} drops SEC(".maps");

/* Of a packet from the pod; the family is known by its length. */
static __always_inline bool read_key(struct __sk_buff *skb, struct flow_key *key)
{
	const __u32 *l3 = (void *)(long)skb->data + FLOOR_L3;
	__u32 *local = (void *)key->local, *remote = (void *)key->remote;
	int i;

	__builtin_memset(key, 0, sizeof(*key));
	if ((void *)(long)skb->data + FLOOR_READ > (void *)(long)skb->data_end)
		return false;
	key->ifindex = skb->ifindex;
	key->protocol = 6;
	if (*(const __u8 *)l3 == 0x45) {
		local[2] = remote[2] = bpf_htonl(0xffff);
		local[3] = l3[3];
		remote[3] = l3[4];
		*(__u32 *)&key->local_port = l3[5];
		return true;
	}
	for (i = 0; i < 4; i++) {
		local[i] = l3[2 + i];
		remote[i] = l3[6 + i];
	}
	*(__u32 *)&key->local_port = l3[10];
	return true;
}

static __always_inline bool tell_floor(const struct flow_key *key)
{
	struct event *event = bpf_ringbuf_reserve(&events_allowed, sizeof(*event), 0);

	if (!event)
		return false;
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	__builtin_memcpy(event->local, key->local, sizeof(event->local));
	__builtin_memcpy(event->remote, key->remote, sizeof(event->remote));
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return true;
}

SEC("tc")
int floor_known(struct __sk_buff *skb)
{
	struct flow_key key;
	struct flow *flow;

	if (!read_key(skb, &key))
		return 1;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return 1;
	flow->tx_packets++;
	flow->tx_bytes += skb->len;
	flow->last_tx = bpf_jiffies64();
	return -1;
}

SEC("tc")
int floor_new(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!read_key(skb, &key) || bpf_map_lookup_elem(&flows, &key) ||
	    bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST))
		return 1;
	return tell_floor(&key) ? -1 : 1;
}

SEC("tc")
int floor_evicting(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!read_key(skb, &key) || bpf_map_lookup_elem(&flows, &key) ||
	    bpf_map_lookup_elem(&flows_spill, &key) ||
	    bpf_map_update_elem(&flows_spill, &key, &fresh, BPF_ANY))
		return 1;
	return tell_floor(&key) ? -1 : 1;
}

static __always_inline bool count_floor(struct __sk_buff *skb)
{
	struct drop_key key = {
		.ifindex = skb->ifindex, .direction = DIR_EGRESS, .reason = REASON_NO_RULE};
	struct traffic *traffic = bpf_map_lookup_elem(&drops, &key);

	if (!traffic)
		return false;
	traffic->packets++;
	traffic->bytes += skb->len;
	return true;
}

SEC("tc")
int floor_denied(struct __sk_buff *skb)
{
	struct flow_key key;

	if (!read_key(skb, &key) || bpf_map_lookup_elem(&flows, &key) || !count_floor(skb))
		return 1;
	return tell_floor(&key) ? -1 : 1;
}

SEC("tc")
int floor_repeat(struct __sk_buff *skb)
{
	struct flow_key key;

	if (!read_key(skb, &key) || bpf_map_lookup_elem(&flows, &key))
		return 1;
	return count_floor(skb) ? -1 : 1;
}

#endif
